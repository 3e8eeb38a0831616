package outbound

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// paced returns a joined mailbox whose messages are collected for a second.
func paced(t *testing.T, d Options) (*line, *Mailbox) {
	l := newLine(newNode(newMetrics(t)), 10, 1<<20)
	d.FlushInterval = time.Second
	return l, l.open(t, l.mailbox(d))
}

func TestMessagesAreCollected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rule Overflow
		want [3]string // sent after one, two and three seconds
	}{
		{CatchUp, [3]string{"1 2 3 4 ", "5 6 7 ", "8 "}},
		{Latest, [3]string{"2 3 4 ", "6 7 ", "8 "}},
	} {
		t.Run(test.rule.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, m := paced(t, Options{Overflow: test.rule})
				offset := int64(1)
				for second, keys := range [][]string{{"a", "b", "", "a"}, {"a", "b", "a"}, {"a"}} {
					for _, key := range keys {
						woken := l.woken
						m.Deliver(keyed(t, Formats(0, keyFingerprints), offset, key), time.Now())
						offset++
						if l.woken != woken || l.Take(&l.batch, 1000, 10) {
							t.Fatal("went out before its time")
						}
						time.Sleep(200 * time.Millisecond) // of the test's own clock
					}
					time.Sleep(time.Second - time.Duration(len(keys))*200*time.Millisecond) // of the test's own clock
					synctest.Wait()
					got := ""
					for l.Take(&l.batch, 1000, 10) {
						for _, frame := range l.batch.Frames {
							var o int64
							_, _ = fmt.Sscanf(string(frame), "0:e %d", &o)
							for rest := string(frame); rest != ""; rest = rest[len(fmt.Sprintf("0:e %d {};", o-1)):] {
								got += fmt.Sprint(o, " ")
								o++
							}
						}
					}
					if got != test.want[second] {
						t.Errorf("second %d: got %q, want %q", second+1, got, test.want[second])
					}
				}
				if m.collecting || m.messages != 0 || l.held != 0 {
					t.Errorf("still collecting: %d messages, %d bytes", m.messages, l.held)
				}
			})
		})
	}
}

// What is for this client alone does not wait, and the order stays.
func TestWhatDoesNotWaitTakesAlongWhatDoes(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(*line, *Mailbox){
		"a reply":        func(_ *line, m *Mailbox) { _ = m.Reply([]byte("it;")) },
		"a push":         func(_ *line, m *Mailbox) { _ = m.Push([]byte("it;")) },
		"the end":        func(_ *line, m *Mailbox) { _ = m.End(false, []byte("it;")) },
		"the connection": func(l *line, _ *Mailbox) { l.Close([]byte("it;"), "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, m := paced(t, Options{})
				m.Deliver(segment(t, "t", Formats(0), 1), time.Now())
				send(l, m)
				if got := l.drain(); got != "0:e 1 {};it;" {
					t.Errorf("got %q", got)
				}
				if m.collecting || len(l.collecting) != 0 || m.timer.Stop() {
					t.Error("the timer is still set")
				}
			})
		})
	}
}

func TestHeartbeatsAreNotHeldUpByWhatIsCollected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, m := paced(t, Options{})
		m.Deliver(segment(t, "t", Formats(0), 1), time.Now())
		_ = l.Reply([]byte("alive;"))
		if got := l.drain(); got != "alive;" {
			t.Errorf("got %q", got)
		}
		time.Sleep(time.Second) // of the test's own clock
		synctest.Wait()
		if got := l.drain(); got != "0:e 1 {};" {
			t.Errorf("got %q", got)
		}
	})
}

// A client that is disconnected for being slow on one channel loses what others
// have collected, and that is counted.
func TestWhatIsCollectedIsDiscardedWithTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, m := paced(t, Options{})
		other := l.open(t, l.mailbox(Options{MailboxSize: 1}))
		m.Deliver(segment(t, "t", Formats(0), 1, 2), time.Now())
		_ = other.Push([]byte("x"))
		if err := other.Push([]byte("y")); err != ErrOverflow {
			t.Fatal(err)
		}
		if n := m.counters.dropped[DropTooSlow].Value(); n != 4 || l.held != 0 || l.entries != 0 {
			t.Errorf("%d dropped, %d bytes and %d entries left", n, l.held, l.entries)
		}
		time.Sleep(2 * time.Second) // of the test's own clock
		if l.Take(&l.batch, 1000, 10) {
			t.Errorf("took %q", l.batch.Frames)
		}
	})
}

// Between two turns of the writer a connection takes what fits into its bytes, whatever was
// collected before, and not more: a client is too slow for what is sent to it at once or not
// at all.
func TestWhatIsCollectedIsInNoOnesWayBetweenTurns(t *testing.T) {
	t.Parallel()
	const bytes, each = 1000, 50
	for rule := CatchUp; rule <= Disconnect; rule++ {
		for _, collected := range []int{0, 1, bytes / 4, bytes/2 - 20, bytes / 2, bytes} {
			t.Run(fmt.Sprint(rule, "/", collected), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					l := newLine(newNode(newMetrics(t)), 10, bytes)
					m := l.open(t, l.mailbox(Options{Overflow: DropNewest, MailboxSize: 1000, FlushInterval: time.Hour}))
					other := l.open(t, l.mailbox(Options{Overflow: rule, MailboxSize: 1000}))
					for offset := int64(1); offset <= 200 && m.messages*len("0:e 10 {};") < collected; offset++ {
						m.Deliver(segment(t, "t", Formats(0), offset), time.Now())
					}
					var err error
					sent := 0
					for ; err == nil && sent < 2*bytes/each && other.counters.dropped[DropOverflow].Value() == 0; sent++ {
						err = other.Push(make([]byte, each))
					}
					if least, most := bytes/each, bytes/each+1; sent-1 < least && collected <= bytes/2 || sent-1 > most {
						t.Errorf("%d pushes of %d bytes went in, want %d: %v", sent-1, each, least, err)
					}
					if l.held > bytes*3/2 {
						t.Errorf("%d bytes are held", l.held)
					}
					l.drain()
					if l.held != 0 || l.excused != 0 {
						t.Errorf("%d bytes are held and %d excused in the end", l.held, l.excused)
					}
					l.Close(nil, DropClosed)
				})
			})
		}
	}
}
