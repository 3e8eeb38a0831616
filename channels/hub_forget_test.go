package channels

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestForget erases at every moment of a segment's life: remembered, fetched and
// not routed yet, not fetched yet, and of a topic that is not watched yet.
func TestForget(t *testing.T) {
	t.Parallel()
	const events = 10
	for upTo := int64(0); upTo <= events; upTo++ {
		for routed := int64(0); routed <= events; routed++ {
			for _, watched := range []bool{true, false} {
				hub := NewHub(newMetrics(t))
				NewReplayer(hub, nil, plain{}, 1<<20)
				if watched {
					subscribe(hub, "t", outbound.Formats(0), &spy{})
				}
				route := func(from, to int64) {
					for offset := from; offset <= to; offset++ {
						hub.Advance(offset)
						hub.Route(segment(t, "t", outbound.Formats(0), offset))
					}
				}
				route(1, routed)
				hub.Forget("t", upTo)
				if !watched {
					subscribe(hub, "t", outbound.Formats(0), &spy{})
				}
				route(routed+1, events)
				for after := range int64(events) {
					segments, whole := hub.recentAfter("t", after, outbound.Formats(0))
					if !whole {
						segments = nil
					}
					if slices.ContainsFunc(segments, func(s *outbound.Segment) bool { return s.First() <= upTo }) {
						t.Fatalf("erased up to %d when %d were routed, watched %v: after %d comes an erased one", upTo, routed, watched, after)
					}
					if watched && whole != (after >= upTo) {
						t.Fatalf("erased up to %d when %d were routed: after %d whole is %v", upTo, routed, after, whole)
					}
				}
				for range 100 { // those that were erased have their turn in being forgotten
					hub.evictions.limit = 0
					hub.evictions.forget()
				}
				if held := hub.evictions.held.Load(); held != 0 {
					t.Fatalf("%d bytes are held", held)
				}
			}
		}
	}
}

// spy is a Subscriber that wants nothing.
type spy struct{}

func (*spy) Deliver(*outbound.Segment, time.Time) {}

// erasing is a History that is erased while it is read.
type erasing struct {
	hub   *Hub
	reads int
}

func (e *erasing) Replay(_ context.Context, topic string, _, upTo int64, _, _ int) ([]Message, int64, error) {
	e.reads++
	m := event(1)
	m.Payload = []byte(`{"old":1}`)
	if e.reads == 1 {
		e.hub.Forget(topic, upTo)
	} else {
		m.Payload = []byte("{}")
	}
	return []Message{m}, upTo, nil
}

func (e *erasing) Tail(_ context.Context, _ string, _ int, upTo int64) (int64, error) {
	return upTo, nil
}

func (e *erasing) Resume(_ context.Context, _ string, after int64) (int64, bool, error) {
	return after, true, nil
}

// TestForgetWhileReading erases what is being read, and what was read before.
func TestForgetWhileReading(t *testing.T) {
	t.Parallel()
	hub := NewHub(newMetrics(t))
	hub.Advance(1)
	history := &erasing{hub: hub}
	r := NewReplayer(hub, history, plain{}, 1<<20)
	builder := outbound.NewBuilder(plain{})
	read := func(want int) {
		t.Helper()
		page, err := r.read(t.Context(), "t", 0, outbound.Formats(outbound.Raw), builder)
		if err != nil || history.reads != want {
			t.Fatal(err, history.reads)
		}
		if got := page.segment.Message(0); string(got.Payload) != "{}" || got.Offset != 1 {
			t.Fatal(got)
		}
	}
	read(2) // and once more, since it was erased meanwhile
	read(2) // is kept
	hub.Forget("other", 1)
	read(2)
	hub.Forget("t", 1)
	read(3)
	hub.ForgetAll(1)
	read(4)
}
