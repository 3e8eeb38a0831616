package channels

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// repetitive makes a log whose events have few keys and payloads, and are
// inserted a second apart, some up to a few seconds late.
func repetitive(seed uint64, kinds int) func(offset int64) Message {
	return func(offset int64) Message {
		random := rand.New(rand.NewPCG(seed, uint64(offset)))
		m := event(offset)
		m.InsertedAt = time.Unix(1000+offset-random.Int64N(3), 0)
		if k := random.IntN(kinds + 1); k > 0 {
			m.Key = fmt.Append(nil, k)
		}
		m.Payload = fmt.Appendf(nil, "{}%d", random.IntN(kinds))
		return m
	}
}

// due is what a channel gets of the offsets after one up to another, and how
// many it does not because they repeat others.
func (m *memory) due(d Options, after, upTo int64) (offsets []int64, repeats int) {
	d = d.WithDefaults()
	model := &naive{window: d.DedupeWindow, entries: d.DedupeEntries}
	for offset := after + 1; offset <= upTo; offset++ {
		if !ours(offset) {
			continue
		}
		e, key := m.event(offset), ""
		switch d.Dedupe {
		case DedupeKey:
			key = string(e.Key)
		case DedupePayload:
			key = string(e.Payload)
		}
		if model.repeats(key, e.InsertedAt) {
			repeats++
			continue
		}
		model.note(key, e.InsertedAt)
		offsets = append(offsets, offset)
	}
	return offsets, repeats
}

// TestDedupeAgainstModel joins clients of all speeds at all positions of a log
// that repeats itself. Live, behind or resuming, from memory or from a history
// that fails now and then, whether its channel takes a look or not: each gets
// what a list says, and what it does not is counted.
func TestDedupeAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 2))
			w := newWorld(t, random.IntN(6000))
			w.log.event = repetitive(seed, 1+random.IntN(30))
			type reader struct {
				*client
				delivery Options
				after    int64
			}
			var readers []reader
			rule := func() Options {
				return Options{
					Dedupe:        DedupeOffset + Dedupe(random.IntN(3)),
					DedupeWindow:  time.Duration(4+random.IntN(60)) * time.Second,
					DedupeEntries: 1 + random.IntN(40),
				}
			}
			common, alike := rule(), random.IntN(2) == 0 // so that they remember together
			for range 60 + random.IntN(60) {
				switch what := random.IntN(20); {
				case what < 8:
					w.publish(1 + random.Int64N(30))
				case what == 8:
					w.log.mu.Lock()
					w.log.fail = random.IntN(3)
					w.log.mu.Unlock()
				case what == 9 && len(readers) < 6:
					d := rule()
					if alike {
						d = common
					}
					d.Overflow, d.MailboxSize = CatchUp, 1+random.IntN(50)
					d.Tags = map[string]string{"reader": fmt.Sprint(len(readers))}
					if random.IntN(3) == 0 {
						d.FlushInterval = time.Millisecond
					}
					resume := &Resume{After: -1}
					switch {
					case random.IntN(3) == 0:
						resume = nil
					case w.log.head > 0:
						resume.After = random.Int64N(w.log.head + 1)
					}
					var channel Channel = accepts{}
					if random.IntN(4) == 0 {
						channel = sees{}
					}
					c := w.joinFor(d, 50+random.IntN(3000), resume, channel)
					synctest.Wait()
					after := w.log.head
					if resume != nil && resume.After >= 0 {
						after = resume.After
					}
					readers = append(readers, reader{c, d, after})
				case len(readers) > 0:
					readers[random.IntN(len(readers))].read()
				}
			}
			for i, r := range readers {
				r.settle()
				want, repeats := w.log.due(r.delivery, r.after, w.log.head)
				if got := r.offsets(t); !slices.Equal(got, want) {
					t.Fatalf("seed %d, reader %d after %d, %+v:\ngot  %v\nwant %v", seed, i, r.after, r.delivery, got, want)
				}
				s := tallyOf(w.set, r.delivery.Tags)
				if got := s.duplicate; got != int64(repeats) {
					t.Errorf("seed %d, reader %d: %d counted as repeats, %d are", seed, i, got, repeats)
				}
				for reason, n := range s.dropped {
					if n > 0 {
						t.Errorf("seed %d, reader %d: %d counted as %s", seed, i, n, reason)
					}
				}
				m, conn := boxOf(r.actor), stateOf(r.Connection)
				if conn.held != 0 || m.messages != 0 || m.reserved != 0 || conn.entries != 0 || m.catchingUp {
					t.Errorf("seed %d, reader %d has all, and holds %d bytes, %d messages, %d reserved", seed, i, conn.held, m.messages, m.reserved)
				}
				r.actor.End(ErrDisconnected)
				r.group.Wait()
			}
		})
	}
}

// TestDedupeWhileRouting has clients fall behind and catch up again and again
// while a log that repeats itself is routed without a pause.
func TestDedupeWhileRouting(t *testing.T) {
	t.Parallel()
	const events, readers = 6000, 3
	w := newWorld(t, 20_000)
	w.log.event = repetitive(1, 2000)
	last := w.log.event(events - 1)
	last.Key = nil // so that it comes
	w.log.event = func(offset int64) Message {
		if offset == last.Offset {
			return last
		}
		return repetitive(1, 2000)(offset)
	}
	d := Options{MailboxSize: 16, Dedupe: DedupeKey, DedupeWindow: 1000 * time.Second, DedupeEntries: 300}
	var clients []*client
	for range readers {
		clients = append(clients, w.joinFor(d, 1<<20, &Resume{After: 0}, accepts{}))
	}
	end := fmt.Sprintf("e %d %s;", last.Offset, last.Payload)
	var group sync.WaitGroup
	group.Go(func() {
		for range events / 4 {
			w.publish(4)
		}
	})
	for _, c := range clients {
		group.Go(func() { c.readUntil(end) })
	}
	group.Wait()
	want, _ := w.log.due(d, 0, events)
	for _, c := range clients {
		if got := c.offsets(t); !slices.Equal(got, want) {
			t.Errorf("got %d events, want %d", len(got), len(want))
		}
		c.actor.End(ErrDisconnected)
		c.group.Wait()
	}
}

// naive is what a channel's memory of what it has sent is to be, with all that was
// ever sent in a list.
type naive struct {
	window  time.Duration
	entries int
	list    []naiveRecord
}

type naiveRecord struct {
	key      string
	inserted time.Time
}

func (n *naive) repeats(key string, inserted time.Time) bool {
	for i := len(n.list) - 1; i >= max(0, len(n.list)-n.entries); i-- {
		if r := n.list[i]; r.key == key {
			return key != "" && inserted.Sub(r.inserted).Abs() < n.window
		}
	}
	return false
}

func (n *naive) note(key string, inserted time.Time) {
	if key != "" {
		n.list = append(n.list, naiveRecord{key, inserted})
	}
}
