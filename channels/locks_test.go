package channels

import (
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// meddler is a Subscriber that does, while it is delivered to, all that can be
// done with a topic: each of it would wait for ever if the one who routes held
// a lock of the hub.
type meddler struct {
	hub   *Hub
	other *Subscription
	calls int
}

func (m *meddler) Deliver(seg *outbound.Segment, _ time.Time) {
	if m.calls++; m.calls > 1 {
		return
	}
	joins := subscribe(m.hub, seg.Topic(), outbound.Formats(0), new(ear))
	joins.Cancel()
	m.other.Cancel()
	var next int64 // a broadcast
	if seg.Logged() {
		next = seg.Last() + 1
	}
	m.hub.Route(segment(sure{}, seg.Topic(), outbound.Formats(0), next))
	m.hub.recentAfter(seg.Topic(), 0, outbound.Formats(0))
	m.hub.goLive(seg.Topic(), 0, newLine(m.hub, 1, 1).mailbox(Options{}))
	m.hub.List(1)
}

// TestNoLockIsHeldAcrossAFanOut meddles with a topic while it is being routed.
func TestNoLockIsHeldAcrossAFanOut(t *testing.T) {
	t.Parallel()
	for name, offsets := range map[string][]int64{"an event": {1}, "a broadcast": nil} {
		for what, recent := range map[string]int{"nothing is remembered": 0, "all is": 1 << 20} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				hub := NewHub(newMetrics(t))
				NewReplayer(hub, nil, plain{}, recent)
				m := &meddler{hub: hub}
				subscribe(hub, "t", outbound.Formats(0), m)
				m.other = subscribe(hub, "t", outbound.Formats(0), new(ear))
				hub.Route(segment(t, "t", outbound.Formats(0), offsets...))
				if m.calls != 2 {
					t.Errorf("delivered to %d times, want 2", m.calls)
				}
			})
		}
	}
}

// stuck is a Subscriber that does not come back.
type stuck struct {
	reached chan struct{} // closed by Deliver
	release chan struct{} // closed by the test
}

func (s *stuck) Deliver(*outbound.Segment, time.Time) {
	close(s.reached)
	<-s.release
}

// TestAFanOutHoldsUpNoOther routes all other topics while one is stuck, whatever
// their shards, with so little memory that each forgets another's segment.
func TestAFanOutHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	NewReplayer(hub, nil, plain{}, 2000)
	s := &stuck{make(chan struct{}), make(chan struct{})}
	subscribe(hub, "stuck", outbound.Formats(0), s)
	var routing sync.WaitGroup
	routing.Go(func() { hub.Route(segment(t, "stuck", outbound.Formats(0), 1)) })
	<-s.reached
	var e ear
	const topics = 4 * hubShards
	for i := range topics {
		topic := string(rune('a' + i))
		subscribe(hub, topic, outbound.Formats(0), &e)
		hub.Route(segment(t, topic, outbound.Formats(0), int64(2+i)))
	}
	if heard := e.heard.Load(); heard != topics {
		t.Errorf("%d heard of %d", heard, topics)
	}
	close(s.release)
	routing.Wait()
}
