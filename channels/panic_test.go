package channels

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
)

// fragile panics for the payload "panic", in one format, after it has written.
type fragile struct {
	plain
	in outbound.Format
}

func (e fragile) AppendMessage(dst []byte, f outbound.Format, m *Message) ([]byte, error) {
	dst, err := e.plain.AppendMessage(dst, f, m)
	if f == e.in && string(m.Payload) == "panic" {
		panic("poisoned")
	}
	return dst, err
}

// TestBroadcastOutlivesPanics: what one broadcast leaves behind is not in the next.
func TestBroadcastOutlivesPanics(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	pubsub := NewPubSub(hub, fragile{})
	var a ear
	b := newLine(hub, 10, 1000)
	subscribe(hub, "a", outbound.Formats(0), &a)
	subscribe(hub, "b", outbound.Formats(0), b.box(t))
	if err := pubsub.Broadcast(&Message{Topic: "a", Event: "e", Payload: []byte("panic")}, nil); err == nil {
		t.Fatal("a panic of the encoder went unnoticed")
	}
	if err := pubsub.Broadcast(&Message{Topic: "b", Event: "e", Payload: []byte("{}")}, nil); err != nil {
		t.Fatal(err)
	}
	if got := b.drain(); got != "0:e 0 {};" || a.heard.Load() != 0 {
		t.Fatalf("got %q, and %d of what panicked", got, a.heard.Load())
	}
}

// TestReplayOutlivesPanics: a history that panics ends the channels that asked, and
// the others are served.
func TestReplayOutlivesPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.log.event = func(offset int64) Message {
			if offset == 3 {
				panic("poisoned")
			}
			return event(offset)
		}
		w.publish(9)
		for range 2 * replayWorkers { // more than there are workers to lose
			c := w.join(100, 1<<20, CatchUp, &Resume{After: 0}, &script{})
			synctest.Wait()
			if c.settle(); !strings.Contains(c.got(), "phx_error") {
				t.Fatalf("got %q", c.got())
			}
		}
		c := w.join(100, 1<<20, CatchUp, &Resume{After: 3}, &script{})
		synctest.Wait()
		if c.settle(); !strings.Contains(c.got(), " 9 ") {
			t.Fatalf("got %q", c.got())
		}
		c.actor.End(ErrDisconnected)
	})
}
