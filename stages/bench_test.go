package stages_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// BenchmarkEncode is a batch on its way from events to segments, with few or
// many topics in it: what grouping and encoding cost beside the wire format's
// own work, for each event.
func BenchmarkEncode(b *testing.B) {
	for _, topics := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			batch, watched := talk(500, topics)
			encoder := stages.NewEncoder(plain{}, watched, bounds())
			perEvent(b, len(batch), func() { encoder.Encode(b.Context(), batch) })
		})
	}
}

// BenchmarkUnwatched is a batch that nobody watches.
func BenchmarkUnwatched(b *testing.B) {
	batch, _ := talk(500, 100)
	encoder := stages.NewEncoder(plain{}, watching{}, bounds())
	perEvent(b, len(batch), func() { encoder.Encode(b.Context(), batch) })
}

// BenchmarkLane is a batch all the way through a lane, to a subscriber of each
// topic who does nothing with it.
func BenchmarkLane(b *testing.B) {
	for _, topics := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			set, err := metrics.New(metrics.Config{})
			if err != nil {
				b.Fatal(err)
			}
			hub := channels.NewHub(set)
			channels.NewReplayer(hub, nil, plain{}, 64<<20) // so that the hub remembers what it routes
			events, watched := talk(max(500, topics), topics)
			for topic, formats := range watched {
				subscribe(hub, topic, formats, deaf{})
			}
			encoder := stages.NewEncoder(plain{}, hub, bounds())
			offset, at := int64(0), 0
			perEvent(b, 500, func() {
				batch := events[at : at+500]
				at = (at + 500) % len(events)
				for i := range batch {
					offset++
					batch[i].Offset = offset
				}
				hub.Advance(offset)
				segments, _ := encoder.Encode(b.Context(), batch)
				for _, segment := range segments {
					hub.Route(segment)
				}
			})
		})
	}
}

// deaf is a subscriber who does nothing.
type deaf struct{}

func (deaf) Deliver(*outbound.Segment, time.Time) {}

// talk is so many events of a usual size, spread over topics which are all
// watched.
func talk(n, topics int) ([]store.Event, watching) {
	list, watched := make([]store.Event, n), make(watching)
	for i := range list {
		topic := fmt.Sprintf("topic:%d", i%topics)
		watched[topic] = outbound.Formats(0)
		list[i] = store.Event{Offset: int64(i + 1), Topic: topic, Name: "said", Payload: make([]byte, 128), InsertedAt: time.Unix(1, 0)}
	}
	return list, watched
}

func bounds() stages.EncoderConfig {
	return stages.EncoderConfig{SegmentSize: 500, SegmentBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
}

func perEvent(b *testing.B, events int, step func()) {
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}

// subscribe adds a subscriber that needs the given formats to a topic.
func subscribe(hub *channels.Hub, topic string, formats outbound.FormatSet, to channels.Subscriber) {
	sub := new(channels.Subscription)
	sub.Init(hub, topic, to)
	sub.Enter(formats)
}
