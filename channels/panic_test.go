package channels

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fragile panics for the payload "panic", in one format, after it has written.
type fragile struct {
	plain
	in Format
}

func (e fragile) AppendMessage(dst []byte, f Format, m *Message) ([]byte, error) {
	dst, err := e.plain.AppendMessage(dst, f, m)
	if f == e.in && string(m.Payload) == "panic" {
		panic("poisoned")
	}
	return dst, err
}

// TestBuilderOutlivesPanics: a message whose encoding panics is left out, of all
// formats, and nothing of it is in this segment or a later one.
func TestBuilderOutlivesPanics(t *testing.T) {
	t.Parallel()
	formats := Formats(0, 1, 2, Raw)
	for f := range Formats(0, 1, 2).All() {
		for at := range 3 {
			b := NewBuilder(fragile{in: f})
			for _, topic := range []string{"first", "second"} {
				b.Start(Audience{Topic: topic, Formats: formats})
				for i := range 3 {
					payload := topic
					if topic == "first" && i == at {
						payload = "panic"
					}
					err := b.Add(&Message{Offset: int64(i + 1), Event: "e", Payload: []byte(payload)})
					var panicked *PanicError
					if errors.As(err, &panicked) != (payload == "panic") {
						t.Fatalf("format %d, message %d of %s: %v", f, i, topic, err)
					}
				}
				seg, want := b.Segment(), 3
				if topic == "first" {
					want = 2
				}
				for g := range formats.All() {
					frames, n, _ := seg.After(0, g)
					if n != want || strings.Count(string(frames), topic) != want || strings.Contains(string(frames), "panic") {
						t.Fatalf("panic in format %d at %d: %s in format %d is %q", f, at, topic, g, frames)
					}
				}
			}
		}
	}
}

// TestBroadcastOutlivesPanics: what one broadcast leaves behind is not in the next.
func TestBroadcastOutlivesPanics(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	pubsub := NewPubSub(hub, fragile{})
	var got []string
	hub.Subscribe("a", Formats(0), receiver(func(seg *Segment) { got = append(got, "a") }))
	hub.Subscribe("b", Formats(0), receiver(func(seg *Segment) {
		frames, _, _ := seg.After(0, 0)
		got = append(got, string(frames))
	}))
	if err := pubsub.Broadcast(&Message{Topic: "a", Event: "e", Payload: []byte("panic")}, nil); err == nil {
		t.Fatal("a panic of the encoder went unnoticed")
	}
	if err := pubsub.Broadcast(&Message{Topic: "b", Event: "e", Payload: []byte("{}")}, nil); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != "0:e 0 {};" {
		t.Fatalf("%q", got)
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
			if c.settle(); !strings.Contains(c.got, "phx_error") {
				t.Fatalf("got %q", c.got)
			}
		}
		c := w.join(100, 1<<20, CatchUp, &Resume{After: 3}, &script{})
		synctest.Wait()
		if c.settle(); !strings.Contains(c.got, " 9 ") {
			t.Fatalf("got %q", c.got)
		}
		c.actor.End(ErrDisconnected)
	})
}

// receiver is a subscriber.
type receiver func(*Segment)

func (f receiver) Deliver(seg *Segment, _ time.Time) { f(seg) }
