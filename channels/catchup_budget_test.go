package channels

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestAStormOfReplaysIsBounded has many clients resume far back, from a history that
// answers at once, some of which read nothing: what is on its way to all of them
// together stays within the budget, whatever they do, and all that read get
// everything, in a time that does not grow with those that do not.
func TestAStormOfReplaysIsBounded(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]int{"all read": 0, "some read nothing": 20, "most read nothing": 60} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const clients, limit = 80, 40_000
				w := newWorld(t, 0)
				w.replayer.limit(limit)
				w.publish(2000) // nobody is there
				var list []*client
				for i := range clients {
					var channel Channel = accepts{}
					if i%4 == 3 {
						channel = sees{}
					}
					list = append(list, w.join(1024, 20_000, CatchUp, &Resume{After: int64(i)}, channel))
				}
				most := int64(0)
				start := time.Now()
				for round := 0; round < 1000; round++ {
					for _, c := range list[idle:] {
						synctest.Wait()
						now, _ := w.replayer.charged()
						most = max(most, now)
						c.read()
					}
					time.Sleep(replayPatience / 20) // of the test's own clock
				}
				page := int64(pageMessages * len("0:e 2000 {};"))
				if bound := limit + replayWorkers*page; most > bound || most < limit/2 {
					t.Errorf("%d bytes were on their way, at most %d may be", most, bound)
				}
				for i, c := range list[idle:] {
					c.expect(t, int64(idle+i)+1, 2000)
				}
				t.Log(name, time.Since(start))
				for _, c := range list {
					c.actor.End(ErrDisconnected)
					c.Close(nil, outbound.DropClosed)
					c.group.Wait()
				}
				synctest.Wait()
				b := &w.replayer.budget
				if bytes, holders := w.replayer.charged(); bytes != 0 || holders != 0 || b.parked.Len() != 0 || b.timer != nil {
					t.Errorf("%d bytes, %d connections and %d channels are left", bytes, holders, b.parked.Len())
				}
			})
		})
	}
}

// What is charged to replays is given back in each way that a connection ends, also
// with a batch in hand.
func TestReplaysAreGivenBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*client){
		"read":     func(c *client) { c.settle() },
		"closed":   func(c *client) { c.Close(nil, outbound.DropClosed) },
		"in hand":  func(c *client) { c.Take(&c.batch, 1, 1); c.Close(nil, outbound.DropTooSlow) },
		"farewell": func(c *client) { c.Close([]byte("bye;"), ""); c.settle() },
		"replaced": func(c *client) { c.actor.End(ErrReplaced); c.settle() },
		"last taken": func(c *client) {
			c.actor.End(ErrDisconnected)
			c.Close(nil, "")
			c.Take(&c.batch, 1<<20, 100)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.publish(400)
				c := w.join(1024, 20_000, CatchUp, &Resume{After: 0}, accepts{})
				synctest.Wait()
				if bytes, _ := w.replayer.charged(); bytes == 0 {
					t.Fatal("nothing is charged")
				}
				end(c)
				synctest.Wait()
				if bytes, holders := w.replayer.charged(); bytes != 0 || holders != 0 {
					t.Errorf("%d bytes of %d connections are left", bytes, holders)
				}
				c.actor.End(ErrDisconnected)
				c.group.Wait()
			})
		})
	}
}

// TestWhatIsCollectedIsNoReplay has a client read all that is replayed to it while
// another channel of its connection collects, more than that or less: nothing stays
// charged to replays, so that nobody waits for the end of the collecting.
func TestWhatIsCollectedIsNoReplay(t *testing.T) {
	t.Parallel()
	for _, collected := range []int{1, 10, 100, 800} {
		t.Run(fmt.Sprint(collected), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.publish(400)
				c := w.join(1024, 40_000, CatchUp, &Resume{After: 0}, accepts{})
				synctest.Wait()
				collecting := c.mailbox(Options{MailboxSize: 10_000, FlushInterval: time.Hour})
				*private[bool](collecting, "open") = true
				for i := range collected {
					collecting.Deliver(segment(t, "u", outbound.Formats(0), int64(i+1)), time.Now())
				}
				if bytes, _ := w.replayer.charged(); bytes == 0 {
					t.Fatal("nothing is charged")
				}
				c.settle()
				c.expect(t, 1, 400)
				if bytes, holders := w.replayer.charged(); bytes != 0 || holders != 0 || stateOf(c.Connection).collecting != 1 {
					t.Errorf("%d bytes of %d connections are left, %d mailboxes collect", bytes, holders, stateOf(c.Connection).collecting)
				}
				c.actor.End(ErrDisconnected)
				_ = collecting.End(false)
				c.group.Wait()
			})
		})
	}
}

// TestNobodyDripsForLong has clients that take a little again and again hold all that
// replays may take, whether little is left or live messages come in its place, and
// one that comes after them wait no longer for that.
func TestNobodyDripsForLong(t *testing.T) {
	t.Parallel()
	at := int64(2000)
	for !ours(at) {
		at--
	}
	last := fmt.Sprintf(":e %d ", at)
	for name, live := range map[string]bool{"a frame at a time": false, "as much as comes live": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0)
				w.replayer.limit(20_000)
				w.publish(2000)
				var slow []*client
				for range 10 {
					slow = append(slow, w.join(1024, 20_000, CatchUp, &Resume{After: 0}, sees{}))
				}
				synctest.Wait()
				if !w.replayer.budget.replays.Spent() {
					t.Fatal("nobody has to wait")
				}
				c := w.join(1024, 20_000, CatchUp, &Resume{After: 1000}, accepts{})
				for start := time.Now(); !strings.Contains(c.got(), last); c.read() {
					if time.Since(start) > 20*replayDeadline {
						t.Fatalf("after %v it has %d bytes", time.Since(start), len(c.got()))
					}
					for _, each := range slow {
						each.Take(&each.batch, 1, 1)
						each.batch.Written()
						if live {
							_ = each.actor.ctx.Push("live", nil)
						}
					}
					time.Sleep(replayPatience / 2) // of the test's own clock
					synctest.Wait()
				}
				for _, each := range append(slow, c) {
					each.actor.End(ErrDisconnected)
					each.Close(nil, outbound.DropClosed)
					each.group.Wait()
				}
			})
		})
	}
}

// What an intercepting channel lets pass stays charged until its client has taken it.
func TestWhatIsSeenStaysCharged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		w.publish(400)
		c := w.join(1024, 20_000, CatchUp, &Resume{After: 0}, sees{})
		synctest.Wait()
		if used, _ := w.replayer.charged(); used < 500 {
			t.Errorf("%d bytes are charged", used)
		}
		c.settle()
		if used, _ := w.replayer.charged(); used != 0 {
			t.Errorf("%d bytes are left", used)
		}
		c.actor.End(ErrDisconnected)
		c.group.Wait()
	})
}
