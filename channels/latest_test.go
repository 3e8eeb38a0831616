package channels

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// TestLatestIsForLiveViews has dashboards that do not read for a while: with
// the newest of each key where it may be shed, with all where the client asked
// for all.
func TestLatestIsForLiveViews(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		delivery   Options
		resume     *Resume
		want       string // of 1 2 3 4 6 7 8, which are of the keys a b a b a b a
		overflow   int64
		superseded int64
	}{
		{"live", Options{Overflow: Latest, MailboxSize: 3}, nil, "[7 8]", 0, 5},
		{"live, with room", Options{Overflow: Latest, MailboxSize: 10}, nil, "[1 2 3 4 6 7 8]", 0, 0},
		{"live, too little room", Options{Overflow: Latest, MailboxSize: 1}, nil, "[8]", 6, 0},
		{"live, collected", Options{Overflow: Latest, MailboxSize: 10, FlushInterval: time.Second}, nil, "[7 8]", 0, 5},
		{"live, collected in full", Options{Overflow: DropNewest, MailboxSize: 5, FlushInterval: time.Second}, nil, "[1 2 3 4 6]", 2, 0},
		{"resumed", Options{Overflow: Latest, MailboxSize: 3}, &Resume{After: -1}, "[1 2 3 4 6 7 8]", 0, 0},
		{"resumed, collected", Options{Overflow: Latest, MailboxSize: 3, FlushInterval: time.Second}, &Resume{After: -1}, "[1 2 3 4 6 7 8]", 0, 0},
	} {
		for _, looks := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, looks), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, 1<<20)
					turn := 0
					w.log.event = func(offset int64) Message {
						m := event(offset)
						if ours(offset) {
							turn++
							m.Key = []byte{"ab"[(turn-1)%2]}
						}
						return m
					}
					var channel Channel = accepts{}
					if looks {
						channel = sees{}
					}
					c := w.joinFor(test.delivery, 1<<20, test.resume, channel)
					synctest.Wait()
					for c.read() {
					}
					for range 8 {
						w.publish(1)
						synctest.Wait()
					}
					c.settle()
					time.Sleep(test.delivery.FlushInterval) // of the test's own clock
					c.settle()
					if got := fmt.Sprint(c.offsets(t)); got != test.want {
						t.Errorf("got %s, want %s", got, test.want)
					}
					dropped := tallyOf(w.set, nil).dropped
					if o, s := dropped[outbound.DropOverflow], dropped[outbound.DropSuperseded]; o != test.overflow || s != test.superseded {
						t.Errorf("%d shed and %d superseded, want %d and %d", o, s, test.overflow, test.superseded)
					}
					c.actor.End(ErrDisconnected)
					c.group.Wait()
				})
			})
		}
	}
}
