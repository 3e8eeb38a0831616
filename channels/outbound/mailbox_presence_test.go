package outbound

import (
	"strings"
	"testing"
	"time"
)

// listening is what a mailbox's channel is told.
type listening struct{ Owner }

func (listening) AwaitPresence() {}

// TestAListTakesNoRoomFromMessages gives lists of who is on a topic, larger than what a
// connection may hold and smaller, to channels of every rule: what comes next has as much
// room as without it, is bounded as before, and nothing is left of that once the list has gone.
func TestAListTakesNoRoomFromMessages(t *testing.T) {
	t.Parallel()
	const bytes = 256 // of a connection; a message has about ten
	fill := func(l *line, m *Mailbox, from int64) (taken int) {
		for range bytes {
			held := l.held
			m.Deliver(segment(t, "t", Formats(0), from+int64(taken)), time.Now())
			if l.overflowed > 0 || l.held <= held {
				break
			}
			taken++
		}
		return taken
	}
	for _, rule := range []Overflow{DropNewest, Disconnect} {
		for _, list := range []int{1, bytes / 2, bytes, 10 * bytes} {
			plain := newLine(newNode(newMetrics(t)), 1000, bytes)
			want := fill(plain, plain.open(t, plain.mailbox(Options{Overflow: rule})), 1000)
			l := newLine(newNode(newMetrics(t)), 1000, bytes)
			m := l.mailbox(Options{Overflow: rule})
			m.owner = listening{}
			l.open(t, m)
			m.FollowPresence()
			if !m.PushPresence([]byte(strings.Repeat("l", list))) {
				t.Fatalf("%v: a list of %d bytes has no room in an empty mailbox", rule, list)
			}
			if got := fill(l, m, 1000); got < want-1 || got > want+1 {
				t.Errorf("%v: beside a list of %d bytes %d messages have room, without one %d", rule, list, got, want)
			}
			if rule == Disconnect {
				continue
			}
			l.drain()
			if l.lists != 0 || l.held != 0 {
				t.Errorf("%v: once all has been taken, %d bytes are held, and %d of lists", rule, l.held, l.lists)
			}
			if got := fill(l, m, 2000); got != want {
				t.Errorf("%v: after a list of %d bytes %d messages have room, before it %d", rule, list, got, want)
			}
		}
	}
}
