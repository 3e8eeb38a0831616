package channels

import (
	"fmt"
	"slices"
	"testing"
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
	if all[0] != (TopicInfo{"t101", 3}) || all[299] != (TopicInfo{"t99", 1}) {
		t.Fatalf("sorted %v to %v", all[0], all[299])
	}
	for _, limit := range []int{0, 1, 7, 299, 300, 1000} {
		if got := h.List(limit); !slices.Equal(got, all[:min(limit, len(all))]) {
			t.Errorf("the first %d topics: %v", limit, got)
		}
	}
}
