package outbound

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestASegmentIsTakenLikeItsMessages delivers the same random events to two
// mailboxes with the same rule, to one in segments and to the other one by one:
// what their clients get, and what is counted, is the same.
func TestASegmentIsTakenLikeItsMessages(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		node := newNode(newMetrics(t))
		d := Options{
			Overflow:    rapid.SampledFrom([]Overflow{DropOldest, DropNewest, Latest, Disconnect}).Draw(t, "overflow"),
			MailboxSize: rapid.IntRange(1, 12).Draw(t, "size"),
		}
		whole, single := newLine(node, 1000, 1<<20), newLine(node, 1000, 1<<20)
		boxes := make([]*Mailbox, 2)
		for i, l := range []*line{whole, single} {
			boxes[i] = l.mailbox(d)
			boxes[i].counters = newCounters(newMetrics(t), nil)
			l.open(sure{}, boxes[i])
		}
		offset := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"events": func(t *rapid.T) {
				n := rapid.IntRange(1, 30).Draw(t, "messages")
				var offsets []int64
				for range n {
					offsets = append(offsets, offset)
					single.deliver(t, boxes[1], offset)
					offset++
				}
				whole.deliver(t, boxes[0], offsets...)
			},
			"push": func(*rapid.T) {
				for _, m := range boxes {
					_ = m.Push([]byte("push;"))
				}
			},
			"reply": func(*rapid.T) {
				for _, m := range boxes {
					_ = m.Reply([]byte("reply;"))
				}
			},
			"take": func(*rapid.T) {
				a, b := whole.drain(), single.drain()
				if a != b {
					t.Fatalf("%v: in segments %q, one by one %q", d.Overflow, a, b)
				}
			},
			"": func(t *rapid.T) {
				checkAccounts(t, whole, boxes[0])
				checkAccounts(t, single, boxes[1])
				for _, reason := range dropReasons {
					a, b := boxes[0].counters.dropped[reason].Value(), boxes[1].counters.dropped[reason].Value()
					if a != b && !whole.refuses() {
						t.Fatalf("%v: in segments %d dropped for %s, one by one %d", d.Overflow, a, reason, b)
					}
				}
				if boxes[0].messages != boxes[1].messages || boxes[0].pushed != boxes[1].pushed && !whole.refuses() {
					t.Fatalf("%v: in segments %d messages up to %d, one by one %d up to %d", d.Overflow,
						boxes[0].messages, boxes[0].pushed, boxes[1].messages, boxes[1].pushed)
				}
			},
		})
	})
}

func (l *line) deliver(t *rapid.T, m *Mailbox, offsets ...int64) {
	m.Deliver(segment(sure{}, "t", Formats(0, keyFingerprints), offsets...), time.Unix(1, 0))
	if l.overflowed > 0 {
		l.Close(nil, DropTooSlow)
	}
}

// A segment is charged once, however many of its messages are looked at.
func TestASegmentFitsByItsMessages(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 5*len("0:e 1 {};"))
	m := l.open(t, l.mailbox(Options{Overflow: DropNewest, Dedupe: DedupeKey}))
	m.Deliver(keyed(t, Formats(0, keyFingerprints), 1, "a", "b", "a", "c"), time.Unix(1, 0))
	if got, want := l.drain(), "0:e 1 {};0:e 2 {};0:e 4 {};"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
