package outbound

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// checkAccounts compares what a connection and its mailboxes say of themselves
// with what is there: all is charged once, and every segment as long as any of
// it is held.
func checkAccounts(t fataler, l *line, boxes ...*Mailbox) {
	t.Helper()
	held, entries := l.inHand, l.own.len()
	for i := range l.own.n {
		held += l.own.at(i).held
	}
	for i, m := range boxes {
		q := &m.queue
		messages, gaps := 0, 0
		charged := make(map[*Segment]int)
		for j := q.n - 1; j >= 0; j-- {
			e := q.at(j)
			if e.gap() {
				gaps++
				continue
			}
			held += e.held
			if e.kind != control {
				messages += int(e.messages)
			}
			if e.segment != nil {
				charged[e.segment] += e.held
			}
			if number, ok := m.newest[e.key]; ok && number != q.base+j {
				t.Fatalf("mailbox %d notes %d for what is %d", i, number, q.base+j)
			}
			if want := e.segment.whole(m.wire); e.segment != nil && charged[e.segment] < want {
				t.Fatalf("mailbox %d holds a segment of %d bytes and is charged %d", i, want, charged[e.segment])
			}
		}
		if gaps != q.gaps || messages != m.messages {
			t.Fatalf("mailbox %d has %d messages and %d gaps, and says %d and %d", i, messages, gaps, m.messages, q.gaps)
		}
		if q.gaps > 2*q.len()+2*idleSlots {
			t.Fatalf("mailbox %d consists of gaps: %d, and %d entries", i, q.gaps, q.len())
		}
		if len(m.newest) > q.len() {
			t.Fatalf("mailbox %d notes %d keys of %d messages", i, len(m.newest), q.len())
		}
		if m.messages+m.reserved > m.size {
			t.Fatalf("mailbox %d of %d holds %d messages, and %d are reserved", i, m.size, m.messages, m.reserved)
		}
		if !m.collecting {
			entries += q.len()
		}
	}
	if held != l.held || entries != l.entries {
		t.Fatalf("charged %d bytes and %d entries for %d and %d", l.held, l.entries, held, entries)
	}
	if entries > 0 && !l.taking {
		t.Fatal("nobody has been woken")
	}
}

// whole is how much memory a segment holds in a format.
func (s *Segment) whole(f Format) int {
	if s == nil || s.encoded(f) == nil {
		return 0
	}
	return len(s.encoded(f).data)
}

// TestEveryMessageCountsOnce plays random traffic against mailboxes with all
// kinds of rules. Whatever the rules: the accounts are exact, and a message is
// pushed, withheld, shed for a reason or still there, and only one of these.
func TestEveryMessageCountsOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		node := newNode(newMetrics(t))
		l := newLine(node, 1000, rapid.SampledFrom([]int{60, 300, 1 << 20}).Draw(t, "bytes"))
		boxes, due := make([]*Mailbox, 3), make([]int64, 3)
		for i := range boxes {
			d := Options{
				Overflow:      Overflow(rapid.IntRange(int(DropOldest), int(Disconnect)).Draw(t, "overflow")),
				MailboxSize:   rapid.IntRange(1, 10).Draw(t, "size"),
				Dedupe:        Dedupe(rapid.IntRange(int(DedupeOffset), int(DedupePayload)).Draw(t, "dedupe")),
				DedupeWindow:  time.Duration(rapid.IntRange(1, 30).Draw(t, "window")) * time.Second,
				DedupeEntries: rapid.IntRange(1, 10).Draw(t, "entries"),
				Tags:          map[string]string{"box": fmt.Sprint(i)},
			}
			if rapid.Bool().Draw(t, "collects") {
				d.FlushInterval = time.Hour
			}
			boxes[i] = l.mailbox(d)
			boxes[i].counters = node.metrics.of(d.Tags)
			l.open(sure{}, boxes[i])
		}
		offset, replies := int64(1), 0
		box := func(t *rapid.T) (int, *Mailbox) {
			i := rapid.IntRange(0, len(boxes)-1).Draw(t, "mailbox")
			return i, boxes[i]
		}
		deliver := func(t *rapid.T, seg *Segment) {
			for i, m := range boxes {
				if m.open && !l.refuses() {
					due[i] += int64(seg.Len())
				}
				m.Deliver(seg, time.Now())
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"events": func(t *rapid.T) {
				keys := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "d"}), 1, 15).Draw(t, "keys")
				deliver(t, keyed(sure{}, Formats(0, keyFingerprints, payloadFingerprints), offset, keys...))
				offset += int64(len(keys))
			},
			"broadcasts": func(t *rapid.T) {
				together := make([]int64, rapid.IntRange(1, 15).Draw(t, "broadcasts"))
				deliver(t, segment(sure{}, "t", Formats(0, keyFingerprints, payloadFingerprints), together...))
			},
			"push": func(t *rapid.T) {
				i, m := box(t)
				if err := m.Push(make([]byte, rapid.IntRange(1, 80).Draw(t, "bytes"))); !errors.Is(err, ErrClosed) {
					due[i]++
				}
			},
			"reply": func(t *rapid.T) {
				if _, m := box(t); m.Reply([]byte("reply;")) == nil {
					replies++
				}
			},
			"time is up": func(t *rapid.T) {
				if _, m := box(t); m.collecting {
					m.timeUp()
				}
			},
			"take": func(t *rapid.T) {
				l.Take(&l.batch, 1000, rapid.IntRange(1, 5).Draw(t, "pieces"))
				l.batch.Written()
			},
			"end": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "whether") == 0 {
					_, m := box(t)
					_ = m.End(rapid.Bool().Draw(t, "replaced"))
				}
			},
			"": func(t *rapid.T) {
				checkAccounts(t, l, boxes...)
				for i, m := range boxes {
					if l.own.len() > 0 {
						continue // what has ended waits there
					}
					got := int64(m.messages) + m.counters.pushed.Value() + m.counters.duplicate.Value()
					for _, reason := range dropReasons {
						got += m.counters.dropped[reason].Value()
					}
					if l.tooSlow {
						if got < due[i] { // replies that were discarded count as well
							t.Fatalf("%d messages of %d are accounted for", got, due[i])
						}
					} else if got != due[i] {
						t.Fatalf("mailbox %d, %v: %d messages are accounted for, %d came", i, m.overflow, got, due[i])
					}
				}
			},
		})
		l.Close(nil, DropClosed)
		l.Take(&l.batch, 1, 1)
		if l.held != 0 || l.entries != 0 || len(l.collecting) != 0 {
			t.Fatalf("closed with %d bytes and %d entries", l.held, l.entries)
		}
		for _, m := range boxes {
			if m.messages != 0 || m.newest != nil {
				t.Fatalf("closed with %d messages", m.messages)
			}
			_ = m.End(false)
		}
	})
}
