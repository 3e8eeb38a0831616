package channels

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// picky is a Channel that looks at everything, lets most of it pass, and fails when
// it is told to.
type picky struct {
	accepts
	seen  int
	fails int // at the event with this number; 0: never
}

func (*picky) Intercepts() []string { return []string{"e"} }

func (p *picky) HandleOut(_ *Context, _ string, payload Payload) (any, bool) {
	p.seen++
	if p.seen == p.fails {
		panic("picky")
	}
	return payload, p.seen%3 != 0
}

// TestWhatWasRoutedIsAccountedFor plays random traffic against a channel of each
// rule, plain, collecting, deduping or looking at everything itself, and ends it in
// each way there is, with messages in hand, queued, collected and being looked at.
// What was routed to it was pushed, withheld or dropped: nothing is in no counter
// and nothing in two.
func TestWhatWasRoutedIsAccountedFor(t *testing.T) {
	t.Parallel()
	ends := map[string]func(c *client){
		"leaves":       func(c *client) { c.actor.Receive(Inbound{Event: leave}) },
		"replaced":     func(c *client) { c.actor.End(ErrReplaced) },
		"disconnected": func(c *client) { c.actor.End(ErrDisconnected) },
		"missed":       func(c *client) { c.actor.missed() },
		"closed":       func(c *client) { c.Close(nil, outbound.DropClosed) },
		"farewell":     func(c *client) { c.Close([]byte("bye;"), "") },
		"too slow":     func(c *client) { c.Close(nil, outbound.DropTooSlow) },
		"fails":        func(c *client) { c.actor.fail(ErrOverloaded, "test") },
	}
	for rule := CatchUp; rule <= Disconnect; rule++ {
		for name, end := range ends {
			t.Run(fmt.Sprint(rule, "/", name), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(12) {
					synctest.Test(t, func(t *testing.T) { account(t, rule, seed, end) })
				}
			})
		}
	}
}

func account(t *testing.T, rule Overflow, seed uint64, end func(*client)) {
	random := rand.New(rand.NewPCG(seed, uint64(rule)))
	w := newWorld(t, random.IntN(4000))
	d := Options{Overflow: rule, MailboxSize: 2 + random.IntN(20), Tags: map[string]string{"one": "this"}}
	if random.IntN(3) == 0 {
		d.FlushInterval = time.Minute
	}
	if random.IntN(3) == 0 {
		d.Dedupe = DedupePayload
	}
	var channel Channel = accepts{}
	if random.IntN(2) == 0 {
		channel = &picky{fails: random.IntN(60)}
	}
	c := w.joinFor(d, 100+random.IntN(2000), nil, channel)
	synctest.Wait()
	c.read()
	from, broadcasts := boxOf(c.actor).pushed, int64(0)
	for range 20 + random.IntN(40) {
		switch random.IntN(6) {
		case 0, 1:
			w.publish(1 + random.Int64N(12))
		case 2:
			synctest.Wait() // nobody ends it now
			if boxOf(c.actor).open && !stateOf(c.Connection).refuses() {
				broadcasts++
			}
			_ = w.host.pubsub.Broadcast(&Message{Topic: "t", Event: "e", Payload: []byte("{}")}, nil)
		case 3:
			if err := c.actor.push("e", emptyObject); err != ErrClosed {
				broadcasts++
			}
		case 4:
			synctest.Wait()
		default:
			c.read()
		}
	}
	if random.IntN(2) == 0 {
		c.Take(&c.batch, 1<<10, 4) // is in hand, and stays there
	}
	end(c)
	synctest.Wait()
	c.actor.End(ErrDisconnected)
	c.group.Wait()
	if random.IntN(2) == 0 {
		c.settle()
	}
	c.Close(nil, outbound.DropClosed)
	c.batch.Lost(outbound.DropClosed)
	m, conn := boxOf(c.actor), stateOf(c.Connection)
	var routed int64 = broadcasts
	for offset := from + 1; offset <= m.pushed; offset++ {
		if ours(offset) {
			routed++
		}
	}
	if counted := tallyOf(w.set, d.Tags).all(); counted != routed {
		t.Errorf("seed %d: %d messages were routed, %d are accounted for", seed, routed, counted)
	}
	if conn.entries != 0 || m.messages != 0 || m.reserved != 0 || conn.held != conn.inHand {
		t.Errorf("seed %d: %d entries, %d messages, %d reserved and %d bytes are left",
			seed, conn.entries, m.messages, m.reserved, conn.held-conn.inHand)
	}
}

// TestReservingIsBeingInLine has what comes after reserved, and told to the channel,
// between the two steps of what came before.
func TestReservingIsBeingInLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 0)
		c := w.join(100, 1<<20, CatchUp, &Resume{After: -1}, sees{})
		c.settle()
		m := &c.actor.mailbox
		formats := outbound.Formats(0, outbound.Raw)
		if !m.Reserve(segment(t, "t", formats, 1, 2)) {
			t.Fatal("nothing to see")
		}
		lockOf(c.Connection).Lock()
		*private[bool](m, "catchingUp") = true
		lockOf(c.Connection).Unlock()
		c.actor.offer(segment(t, "t", formats, 3, 4), false)
		synctest.Wait() // the channel has been told of these alone
		_ = c.actor.post(task{kind: fromTopic})
		synctest.Wait()
		for c.read() {
		}
		c.expect(t, 1, 4)
		c.actor.End(ErrDisconnected)
		c.group.Wait()
	})
}
