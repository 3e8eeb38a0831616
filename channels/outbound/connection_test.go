package outbound

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestConnectionAccounts plays random traffic against a connection and a model of it:
// what is charged is what is held, nothing is lost or reordered within a
// channel, and the bounds hold.
func TestConnectionAccounts(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const size, bytes = 8, 200
		node := newNode(nil)
		l := newLine(node, size, bytes)
		boxes := make([]*Mailbox, 3)
		expected := make([][]string, len(boxes)) // frames queued and not taken, by mailbox
		replies := 0
		for i := range boxes {
			boxes[i] = l.mailbox(Options{})
			if err := boxes[i].Join(-1, true, func(int64) ([]byte, error) { return fmt.Appendf(nil, "ok%d", i), nil }); err != nil {
				t.Fatal(err)
			}
			expected[i] = append(expected[i], fmt.Sprintf("ok%d", i))
			replies++
		}
		next := 0
		frame := func(t *rapid.T, i int) []byte {
			next++
			pad := rapid.IntRange(0, 60).Draw(t, "padding")
			return fmt.Appendf(nil, "%d/%d%s", i, next, strings.Repeat(".", pad))
		}
		over := func() bool { return l.overflowed > 0 }
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				i := rapid.IntRange(0, len(boxes)-1).Draw(t, "mailbox")
				f := frame(t, i)
				messages, held := boxes[i].messages, l.held
				fits := messages == 0 || (messages < size && held+len(f) <= bytes)
				err := boxes[i].Push(f)
				switch {
				case over() && err == nil:
					t.Fatal("queued after the overflow")
				case over():
				case fits && err != nil:
					t.Fatalf("fits (%d messages, %d bytes): %v", messages, held, err)
				case !fits && !errors.Is(err, ErrOverflow):
					t.Fatalf("does not fit (%d messages, %d bytes): %v", messages, held, err)
				case err == nil:
					expected[i] = append(expected[i], string(f))
				}
			},
			"reply": func(t *rapid.T) {
				i := rapid.IntRange(0, len(boxes)-1).Draw(t, "mailbox")
				f := frame(t, i)
				if err := boxes[i].Reply(f); err == nil {
					expected[i] = append(expected[i], string(f))
					replies++
				} else if !over() {
					t.Fatal(err)
				}
			},
			"take": func(t *rapid.T) {
				pieces := rapid.IntRange(1, 5).Draw(t, "pieces")
				took := l.Take(&l.batch, 1000, pieces)
				if len(l.batch.Frames) > pieces || took != (len(l.batch.Frames) > 0) {
					t.Fatalf("took %d frames of %d: %v", len(l.batch.Frames), pieces, took)
				}
				for _, f := range l.batch.Frames {
					i := -1
					for j := range expected {
						if len(expected[j]) > 0 && expected[j][0] == string(f) {
							i = j
						}
					}
					if i < 0 {
						t.Fatalf("took %q, which is not first in any mailbox", f)
					}
					expected[i] = expected[i][1:]
				}
			},
			"": func(t *rapid.T) {
				if over() {
					if l.entries != 0 || l.held != l.inHand || l.replies != 0 || l.overflowed != 1 {
						t.Fatalf("after the overflow: %d entries, %d bytes, told %d times", l.entries, l.held, l.overflowed)
					}
					return
				}
				held, entries := l.inHand, 0
				for i, m := range boxes {
					if m.messages > size {
						t.Fatalf("mailbox %d holds %d messages", i, m.messages)
					}
					for j := range m.queue.n {
						held += m.queue.at(j).held
						entries++
					}
					if m.queue.len() != len(expected[i]) {
						t.Fatalf("mailbox %d has %d frames, want %d", i, m.queue.len(), len(expected[i]))
					}
				}
				if held != l.held || entries != l.entries {
					t.Fatalf("charged %d bytes and %d entries for %d and %d", l.held, l.entries, held, entries)
				}
				if entries > 0 && !l.taking {
					t.Fatal("nobody has been woken")
				}
			},
		})
	})
}

func TestConnectionWakesOnce(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1000)
	for range 3 {
		if err := l.Reply([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if l.woken != 1 {
		t.Fatalf("woken %d times before the first take", l.woken)
	}
	l.Take(&l.batch, 1, 16)
	_ = l.Reply([]byte("y"))
	if l.woken != 1 {
		t.Fatal("woken while somebody is taking")
	}
	if got := l.drain(); got != "xxy" {
		t.Fatal(got)
	}
	_ = l.Reply([]byte("z"))
	if l.woken != 2 {
		t.Fatal("not woken again")
	}
}

func TestConnectionTakesTurns(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1000)
	a, b := l.box(t), l.box(t)
	for _, f := range []string{"a1 ", "a2 ", "a3 "} {
		_ = a.Push([]byte(f))
	}
	_ = b.Push([]byte("b1 "))
	_ = b.Push([]byte("b2 "))
	_ = l.Reply([]byte("own "))
	if got, want := l.drain(), "own a1 b1 a2 b2 a3 "; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestConnectionClose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		discard DropReason
		want    string
	}{
		{"what is queued goes first", "", "x;bye"},
		{"what is queued is discarded", DropClosed, "bye"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(newNode(nil), 10, 1000)
			m := l.box(t)
			_ = m.Push([]byte("x;"))
			l.Close([]byte("bye"), c.discard)
			l.Close([]byte("again"), "")
			if err := m.Push([]byte("late")); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			if err := l.Reply([]byte("late")); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			if got := l.drain(); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("twice, the second time for good", func(t *testing.T) {
		t.Parallel()
		l := newLine(newNode(nil), 10, 1000)
		l.Close([]byte("bye"), "")
		l.Close(nil, DropClosed)
		if got := l.drain(); got != "" {
			t.Fatal(got)
		}
	})
}

func TestConnectionLast(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1000)
	_ = l.Reply([]byte("x"))
	l.Close([]byte("bye"), "")
	if !l.Take(&l.batch, 1, 1) || l.batch.Last != true || len(l.batch.Frames) != 2 {
		t.Fatalf("the farewell comes with the last piece: %+v", l.batch)
	}
}

func TestMailboxOverflow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		fill     func(l *line, m *Mailbox)
		push     func(m *Mailbox) error
		overflow bool
	}{
		{"an empty mailbox takes one message of any size",
			func(*line, *Mailbox) {},
			func(m *Mailbox) error { return m.Push(make([]byte, 5000)) }, false},
		{"even if another mailbox has used up the bytes",
			func(l *line, m *Mailbox) {
				_ = l.open(sure{}, l.mailbox(Options{})).Push(make([]byte, 5000))
			},
			func(m *Mailbox) error { return m.Push(make([]byte, 5000)) }, false},
		{"no second one",
			func(l *line, m *Mailbox) { _ = m.Push(make([]byte, 5000)) },
			func(m *Mailbox) error { return m.Push([]byte("x")) }, true},
		{"messages up to the size",
			func(l *line, m *Mailbox) { _ = m.Push([]byte("1")); _ = m.Push([]byte("2")) },
			func(m *Mailbox) error { return m.Push([]byte("3")) }, false},
		{"no more",
			func(l *line, m *Mailbox) { _ = m.Push([]byte("1")); _ = m.Push([]byte("2")); _ = m.Push([]byte("3")) },
			func(m *Mailbox) error { return m.Push([]byte("4")) }, true},
		{"replies do not count as messages",
			func(l *line, m *Mailbox) {
				_ = m.Push([]byte("1"))
				_ = m.Push([]byte("2"))
				_ = m.Push([]byte("3"))
			},
			func(m *Mailbox) error { return m.Reply([]byte("r")) }, false},
		{"replies are not shed for lack of bytes",
			func(l *line, m *Mailbox) { _ = m.Push(make([]byte, 5000)) },
			func(m *Mailbox) error { return m.Reply([]byte("r")) }, false},
		{"but they do not pile up by number",
			func(l *line, m *Mailbox) {
				_ = m.Reply([]byte("1"))
				_ = l.Reply([]byte("2"))
				_ = m.Reply([]byte("3"))
			},
			func(m *Mailbox) error { return m.Reply([]byte("4")) }, true},
		{"nor by bytes",
			func(l *line, m *Mailbox) { _ = m.Reply(make([]byte, 900)) },
			func(m *Mailbox) error { return m.Reply(make([]byte, 200)) }, true},
		{"a segment with more messages than the mailbox holds",
			func(*line, *Mailbox) {},
			func(m *Mailbox) error {
				m.Deliver(segment(sure{}, "t", Formats(0), 1, 2, 3, 4), time.Now())
				return m.Push(nil)
			}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(newNode(nil), 3, 1000)
			m := l.box(t)
			c.fill(l, m)
			err := c.push(m)
			if c.overflow != (err != nil) || c.overflow != (l.overflowed == 1) {
				t.Fatalf("error %v, overflowed %d times", err, l.overflowed)
			}
			if c.overflow && l.entries > 0 {
				t.Fatal("a client that is given up keeps nothing")
			}
		})
	}
}

// TestSharedSegmentIsChargedWhole holds a part of a segment, which keeps all of
// it in memory.
func TestSharedSegmentIsChargedWhole(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1000)
	m := l.box(t)
	m.pushed = 2
	seg := segment(t, "t", Formats(0), 1, 2, 3)
	m.Deliver(seg, time.Now())
	if all := 3 * len("0:e 1 {};"); l.held != all {
		t.Fatalf("charged %d, want %d", l.held, all)
	}
	if got := l.drain(); got != "0:e 3 {};" || l.held != 0 {
		t.Fatalf("took %q, still charged %d", got, l.held)
	}
}

func TestMailboxEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		replaced bool
		want     string
	}{
		{"what is queued goes first", false, "mine;0:e 1 {};answer;bye;new;"},
		{"what is shared is dropped when a new join takes over", true, "mine;answer;bye;new;"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLine(newNode(nil), 10, 1000)
			old, young := l.box(t), l.box(t)
			_ = old.Push([]byte("mine;"))
			old.Deliver(segment(t, "t", Formats(0), 1), time.Now())
			_ = old.Reply([]byte("answer;"))
			_ = old.End(c.replaced, []byte("bye;"))
			_ = young.Push([]byte("new;"))
			if err := old.Push([]byte("late")); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			old.Deliver(segment(t, "t", Formats(0), 2), time.Now())
			if got := l.drain(); got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if l.held != 0 || l.entries != 0 || l.replies != 0 {
				t.Fatalf("still charged: %+v", l.Connection)
			}
		})
	}
}

func TestMailboxPushesAnOffsetOnce(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1000)
	m := l.box(t)
	for _, offsets := range [][]int64{{1, 2}, {1, 2}, {2, 3}, {3}, {4}} {
		m.Deliver(segment(t, "t", Formats(0), offsets...), time.Now())
	}
	if got, want := l.drain(), "0:e 1 {};0:e 2 {};0:e 3 {};0:e 4 {};"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}
