package channels

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestWhatIsCollectedIsInNobodysWay has one topic of a connection collect for an
// hour, as much as comes, while siblings of each rule get events, broadcasts and
// pushes, and the client reads all that it is sent. No time passes: nobody is
// disconnected, nothing is shed and nothing waits for the timer.
func TestWhatIsCollectedIsInNobodysWay(t *testing.T) {
	t.Parallel()
	for rule := CatchUp; rule <= Disconnect; rule++ {
		for name, bound := range map[string]struct{ bytes, size int }{
			"bytes": {600, 1000}, "messages": {1 << 20, 10}, "hardly any": {40, 2},
		} {
			t.Run(fmt.Sprint(rule, "/", name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1<<20)
					c := w.joinFor(Options{Overflow: rule, MailboxSize: bound.size}, bound.bytes, nil, accepts{})
					c.settle()
					begin := time.Now()
					collecting := c.mailbox(Options{Overflow: rule, MailboxSize: bound.size, FlushInterval: time.Hour})
					*private[bool](collecting, "open") = true
					builder := outbound.NewBuilder(plain{})
					for i := range int64(100) {
						builder.Start(outbound.Audience{Topic: "t", Formats: collecting.Needs()})
						m := event(i + 1)
						m.Key = fmt.Append(nil, "k", i)
						if err := builder.Add(&m); err != nil {
							t.Fatal(err)
						}
						collecting.Deliver(builder.Segment(), time.Now())
						switch i % 3 {
						case 0:
							w.publish(1)
						case 1:
							_ = w.host.pubsub.Broadcast(&Message{Topic: "t", Event: "b", Payload: []byte("{}")}, nil)
						case 2:
							if err := c.actor.push("p", emptyObject); err != nil {
								t.Fatal(err)
							}
						}
						for synctest.Wait(); c.read(); synctest.Wait() {
						}
					}
					if c.overflowed > 0 || time.Now() != begin {
						t.Fatalf("disconnected %d times, after %v", c.overflowed, time.Since(begin))
					}
					for reason, n := range tallyOf(w.set, nil).dropped {
						if n > 0 {
							t.Errorf("%d dropped as %s", n, reason)
						}
					}
					if boxOf(c.actor).catchingUp || stateOf(c.Connection).waiting > 0 {
						t.Error("it still waits for room")
					}
					c.actor.End(ErrDisconnected)
					_ = collecting.End(false)
					c.group.Wait()
				})
			})
		}
	}
}

// A segment that does not fit beside what is collected disconnects nobody: it is
// read again once that has gone out.
func TestALargeSegmentBesideWhatIsCollected(t *testing.T) {
	t.Parallel()
	for _, rule := range []Overflow{CatchUp, Disconnect} {
		t.Run(rule.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1<<20)
				c := w.joinFor(Options{Overflow: rule, MailboxSize: 100}, 160, &Resume{After: -1}, accepts{})
				c.settle()
				other := c.mailbox(Options{FlushInterval: time.Hour})
				*private[bool](other, "open") = true
				other.Deliver(segment(t, "u", outbound.Formats(0), 1, 2, 3), time.Now())
				begin := time.Now()
				w.publish(20) // more than half of the bytes
				for range 3 { // what is taken counts until the next Take
					for synctest.Wait(); c.read(); synctest.Wait() {
					}
				}
				if c.overflowed > 0 || time.Now() != begin || boxOf(c.actor).catchingUp {
					t.Errorf("disconnected %d times, behind: %v, after %v", c.overflowed, boxOf(c.actor).catchingUp, time.Since(begin))
				}
				c.actor.End(ErrDisconnected)
				_ = other.End(false)
				c.group.Wait()
			})
		})
	}
}

// A dashboard joins with "after", falls behind and catches up: that does not
// take an interval for each mailbox full.
func TestCatchingUpDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1<<20)
		w.publish(400) // nobody is there
		start := time.Now()
		c := w.joinFor(Options{Overflow: Latest, MailboxSize: 10, FlushInterval: time.Hour}, 1<<20, &Resume{After: 0}, accepts{})
		for synctest.Wait(); c.read(); {
			synctest.Wait()
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("took %v", waited)
		}
		c.expect(t, 1, 400)
		c.actor.End(ErrDisconnected)
		c.group.Wait()
	})
}
