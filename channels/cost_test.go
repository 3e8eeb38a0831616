package channels

import (
	"runtime"
	"testing"
)

// TestADeliveryAllocatesNothing routes to many, and has them take, again and
// again: with plain channels, and with full ones of each rule.
func TestADeliveryAllocatesNothing(t *testing.T) { // not parallel: it counts allocations
	for name, test := range map[string]struct {
		delivery Options
		messages int
		stays    bool // nobody takes
	}{
		"one message":  {Options{}, 1, false},
		"many":         {Options{}, 500, false},
		"keys":         {Options{Dedupe: DedupeKey, DedupeWindow: 1}, 10, false},
		"catch-up":     {Options{Overflow: CatchUp}, 500, true},
		"drop-oldest":  {Options{Overflow: DropOldest}, 500, true},
		"drop-newest":  {Options{Overflow: DropNewest}, 500, true},
		"latest, full": {Options{Overflow: Latest, MailboxSize: 10}, 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			const watchers = 100
			a := newAudience(t, 1, watchers, test.messages, test.delivery)
			c := a.topics[0]
			step := func() {
				a.say(c)
				if !test.stays {
					a.take(c)
				}
			}
			for range 50 {
				step()
			}
			if got := testing.AllocsPerRun(100, step); got > 1 { // what is remembered grows now and then
				t.Errorf("%v allocations for %d deliveries", got, watchers)
			}
		})
	}
}

// TestAnIdleChannelIsSmall has many join one topic, and measures what they
// take, with their connections.
func TestAnIdleChannelIsSmall(t *testing.T) { // not parallel: it measures the heap
	const watchers, most = 2000, 1200
	before := heap()
	a := newAudience(t, 1, watchers, 1, Options{})
	if each := int64(heap()-before) / watchers; each > most {
		t.Errorf("a channel takes %d bytes, want at most %d", each, most)
	}
	runtime.KeepAlive(a)
}
