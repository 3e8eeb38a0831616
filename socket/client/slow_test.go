package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A program that is slower than its topic gets all of it, once, and holds others up no longer
// than the grace; its queue stays bounded.
func TestSlowProgram(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const last = 4*QueueEvents + 7
		behind := 0
		c := dial(t, always(t, func(p peer) { p.standInLog(last) }), Notify(func(n Notice) {
			if s, ok := n.(Skipped); ok && s.Reason == Behind {
				behind++
			}
		}))
		slow, err := c.Join(t.Context(), "slow", From("e", 0))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		quick, err := c.Join(t.Context(), "quick", From("e", last-1))
		if err != nil {
			t.Fatal(err)
		}
		if got := offsets(t, quick, 1); got != fmt.Sprint(last) {
			t.Error(got)
		}
		if took := time.Since(start); took > Grace {
			t.Errorf("another topic waited %v", took)
		}
		if held := slow.Pending(); held > QueueEvents {
			t.Errorf("%d events wait", held)
		}
		if got := offsets(t, slow, last); got != numbers(1, last) {
			t.Error(got)
		}
		c.Close()
		if behind == 0 {
			t.Error("it was never told that it is behind")
		}
	})
}

// A loop that waits for the answer to a push on each event is not in its own way.
func TestPushInALoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const last = 3 * QueueEvents
		c := dial(t, always(t, func(p peer) { p.standInLog(last) }))
		ch, err := c.Join(t.Context(), "demo", From("e", 0))
		if err != nil {
			t.Fatal(err)
		}
		next := int64(1)
		for e, err := range ch.Events(t.Context()) {
			if err != nil || e.Offset != next {
				t.Fatalf("%+v, %v, want %d", e, err, next)
			}
			if _, err := ch.Push(t.Context(), "seen", map[string]int64{"n": e.Offset}); err != nil && !errors.Is(err, ErrUnanswered) {
				t.Fatal(err)
			}
			if next++; next > last {
				break
			}
		}
		c.Close()
	})
}

// One that stops for longer than the grace is behind, and comes back with nothing lost.
func TestPausesLongerThanTheGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const last = 2*QueueEvents + 1
		c := dial(t, always(t, func(p peer) { p.standInLog(last) }))
		ch, err := c.Join(t.Context(), "demo", From("e", 0))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(Grace + time.Minute) // of the bubble's own time
		if got := offsets(t, ch, last); got != numbers(1, last) {
			t.Error(got)
		}
		c.Close()
	})
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	var q queue
	q.init(make(chan struct{}, 1))
	huge := Event{Payload: make(json.RawMessage, 2*QueueBytes)}
	if !q.put(huge, false) {
		t.Error("an event alone finds no room")
	}
	if q.put(Event{}, false) {
		t.Error("another finds room beside it")
	}
	for range 10_000 {
		q.reset(&ResetError{})
	}
	if q.len() != 2 {
		t.Errorf("%d wait", q.len())
	}
	for i := range 10 * QueueEvents {
		q.put(Event{Offset: int64(i)}, false)
		if i%2 == 0 {
			q.take()
		}
		if q.len() > QueueEvents || cap(q.items) > 4*QueueEvents {
			t.Fatalf("%d wait, in %d", q.len(), cap(q.items))
		}
	}
}

func TestPush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		again := make(chan struct{})
		c := dial(t, scripted(t,
			func(p peer) {
				p.join(`{"offset":0,"epoch":"e","resumed":true}`)
				m, _ := p.next()
				if m.event != "hello" || string(m.payload) != `{"a":1}` || m.joinRef != "1" {
					t.Errorf("pushed %+v", m)
				}
				p.reply(m, "ok", `{"b":2}`)
				m, _ = p.next()
				p.reply(m, "error", `{"reason":"forbidden"}`)
				m, _ = p.next()
				p.reply(m, "error", `[7]`)
				p.next() // not answered: the connection is lost
			},
			func(p peer) {
				<-again
				p.join(`{"offset":0,"epoch":"e","resumed":true}`)
				m, _ := p.next()
				p.reply(m, "ok", `{"c":3}`)
				p.linger() // nothing else is answered
			},
		))
		ch, err := c.Join(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		push := func(ctx context.Context, payload any) string {
			answer, err := ch.Push(ctx, "hello", payload)
			return strings.TrimSpace(fmt.Sprint(string(answer), " ", errors.Join(err)))
		}
		for i, want := range []string{
			`{"b":2} <nil>`, `pushing "hello" was refused: forbidden`, `pushing "hello" was refused: [7]`, ErrUnanswered.Error(),
		} {
			if got := push(t.Context(), map[string]int{"a": 1}); got != want {
				t.Errorf("%d: %s", i, got)
			}
		}
		waits := make(chan string)
		go func() { waits <- push(t.Context(), nil) }()
		synctest.Wait() // it waits to be joined
		close(again)
		if got := <-waits; got != `{"c":3} <nil>` {
			t.Error(got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got := push(ctx, nil); got != context.DeadlineExceeded.Error() {
			t.Error(got)
		}
		if got := push(t.Context(), make(chan int)); !strings.Contains(got, "unsupported type") {
			t.Error(got)
		}
		ch.Leave()
		if got := push(t.Context(), nil); got != ErrLeft.Error() {
			t.Error(got)
		}
		for range ch.Events(t.Context()) {
			t.Error("an event after leaving")
		}
		c.Close()
	})
}
