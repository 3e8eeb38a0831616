package channels

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

type deaf struct{}

func (deaf) Deliver(*outbound.Segment, time.Time) {}

func TestList(t *testing.T) {
	t.Parallel()
	h := NewHub(nil)
	var all []TopicInfo
	for i := range 300 { // more topics than shards
		topic := TopicInfo{Topic: fmt.Sprintf("t%d", i), Channels: 1 + i%3}
		for range topic.Channels {
			subscribe(h, topic.Topic, outbound.Formats(0), deaf{})
		}
		all = append(all, topic)
	}
	subscribe(h, "empty", outbound.Formats(0), deaf{}).Cancel()
	slices.SortFunc(all, byAudience)
	if all[0] != (TopicInfo{Topic: "t101", Channels: 3}) || all[299] != (TopicInfo{Topic: "t99", Channels: 1}) {
		t.Fatalf("sorted %v to %v", all[0], all[299])
	}
	for _, limit := range []int{0, 1, 7, 299, 300, 1000} {
		if got := h.List(limit); !slices.Equal(got, all[:min(limit, len(all))]) {
			t.Errorf("the first %d topics: %v", limit, got)
		}
	}
}

func TestBusiest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that no time passes
		h := NewHub(nil)
		for _, topic := range []string{"quiet", "busy", "busier"} {
			subscribe(h, topic, outbound.Formats(0), deaf{})
		}
		h.Route(segment(t, "busy", outbound.Formats(0), 1, 2))
		h.Route(segment(t, "busier", outbound.Formats(0), 3, 4, 5))
		got := h.Busiest(2)
		if len(got) != 2 || got[0].Topic != "busier" || got[1].Topic != "busy" || got[0].Rate <= got[1].Rate || got[1].Rate == 0 {
			t.Errorf("the busiest: %+v", got)
		}
	})
}
