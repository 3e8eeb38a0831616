package channels

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestRecentAgainstModel routes random segments of some topics, and compares
// what is remembered with a list of all that was routed: it is the last of it
// that fits, whole from where a topic says it is.
func TestRecentAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 5000).Draw(t, "bytes")
		hub := NewHub(nil)
		NewReplayer(hub, nil, plain{}, limit)
		topics := []string{"a", "b", "c"}
		for _, topic := range topics {
			subscribe(hub, topic, outbound.Formats(0), new(ear))
		}
		var routed []*outbound.Segment
		for offset := range int64(rapid.IntRange(1, 60).Draw(t, "segments")) {
			topic := rapid.SampledFrom(topics).Draw(t, "topic")
			formats := rapid.SampledFrom([]outbound.FormatSet{outbound.Formats(0), outbound.Formats(0, 1)}).Draw(t, "formats")
			seg := segment(sure{}, topic, formats, 10*offset+1, 10*offset+2)
			hub.Route(seg)
			routed = append(routed, seg)
			fits, size := len(routed), int64(0)
			for fits > 0 && size+int64(routed[fits-1].Size()) <= hub.evictions.limit {
				fits--
				size += int64(routed[fits].Size())
			}
			topic = rapid.SampledFrom(topics).Draw(t, "topic asked for")
			after := rapid.Int64Range(0, 10*offset+9).Draw(t, "after")
			wants := rapid.SampledFrom([]outbound.FormatSet{outbound.Formats(0), outbound.Formats(0, 1)}).Draw(t, "wants")
			var want []*outbound.Segment
			whole, lacks := true, false
			for i, seg := range routed {
				switch {
				case seg.Topic() != topic || seg.Last() <= after:
				case i < fits:
					whole = false
				case !lacks && seg.Has(wants) && len(want) < replayStep:
					want = append(want, seg)
				default:
					lacks = lacks || !seg.Has(wants)
				}
			}
			if whole = whole && (len(want) > 0 || !lacks); !whole {
				want = nil
			}
			got, ok := hub.recentAfter(topic, after, wants)
			if ok != whole || !slices.Equal(got, want) {
				t.Fatalf("%d segments of %s after %d, whole: %v; want %d, %v", len(got), topic, after, ok, len(want), whole)
			}
		}
	})
}

// BenchmarkRecent routes small segments of one topic, as many as there is room
// for at a time, and what a channel asks for that is almost up to date.
func BenchmarkRecent(b *testing.B) {
	for _, room := range []int{1 << 10, 1 << 20, 64 << 20} {
		hub := NewHub(nil)
		NewReplayer(hub, nil, terse{}, room)
		subscribe(hub, "t", outbound.Formats(0), new(ear))
		seg := spoken(b, "t", 1, Options{})
		offsets := offsetsOf(seg)
		say := func() {
			offsets[0]++
			hub.Route(seg)
		}
		for range room / smallSegment {
			say()
		}
		b.Run(fmt.Sprintf("route/bytes=%d", room), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				say()
			}
		})
		b.Run(fmt.Sprintf("after/bytes=%d", room), func(b *testing.B) {
			for b.Loop() {
				hub.recentAfter("t", seg.Last()-2, outbound.Formats(0))
			}
		})
	}
}
