package stages_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// BenchmarkDelivery is a backlog on its way through the whole line, from a log
// in memory to subscribers of a hundred topics: what demand, lanes, batches and
// acknowledgement cost beside encoding, for each event.
func BenchmarkDelivery(b *testing.B) {
	const topics = 100
	list, watched := talk(100_000, topics)
	for _, lanes := range []int{1, 2} {
		b.Run(fmt.Sprintf("lanes=%d", lanes), func(b *testing.B) {
			perEvent(b, len(list), func() {
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				hub, all := channels.NewHub(nil), &countdown{done: cancel}
				all.left.Store(int64(len(list)))
				for topic, formats := range watched {
					subscribe(hub, topic, formats, all)
				}
				line := stages.NewDelivery(memory(list), plain{}, hub, stages.DeliveryConfig{
					Producer: stages.ProducerConfig{FetchSize: 500, Fetched: hub.Advance},
					Encoder:  bounds(),
					Lanes:    lanes, MaxDemand: 1000, MinDemand: 500, BatchSize: 500,
					DrainTimeout: time.Minute,
				})
				if err := line.Run(ctx); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// memory is a log whose events are all there.
type memory []store.Event

func (m memory) Fetch(_ context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	rest := m[min(int(after), len(m)):]
	return rest[:min(limit.Events, len(rest))], nil
}

func (m memory) Wait(ctx context.Context, _ int64) error {
	<-ctx.Done()
	return ctx.Err()
}

func (m memory) Head(context.Context) (store.Head, error) {
	return store.Head{Offset: int64(len(m))}, nil
}

// countdown is a subscriber that calls done with the last event.
type countdown struct {
	left atomic.Int64
	done func()
}

func (c *countdown) Deliver(seg *outbound.Segment, _ time.Time) {
	if c.left.Add(-int64(seg.Len())) == 0 {
		c.done()
	}
}
