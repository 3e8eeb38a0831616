package outbound

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// twins are two channels of the same rule that are given the same: one of them tells
// repeats by what it shares with others, and the other by a window of its own.
type twins struct {
	lines [2]*line
	boxes [2]*Mailbox
}

// patient is an owner that is asked for nothing: the test brings what was missed.
type patient struct{}

func (patient) CatchUp()       {}
func (patient) AwaitPresence() {}

func newTwins(t fataler, d Options, bytes int) *twins {
	p := new(twins)
	for i := range p.boxes {
		p.lines[i] = newLine(newNode(newMetrics(t)), 1000, bytes)
		p.boxes[i] = p.lines[i].mailbox(d)
		p.boxes[i].owner, p.boxes[i].formats = patient{}, whole
		p.boxes[i].counters = newCounters(newMetrics(t), nil)
		p.lines[i].open(sure{}, p.boxes[i])
	}
	return p
}

// episode is a segment as each of the twins is given it.
type episode [2]*Segment

// whole is what segments are encoded in.
var whole = Formats(0, keyFingerprints)

// rehearsal is channels that come, go, are slow and catch up, on one topic that repeats itself.
type rehearsal struct {
	windows SharedWindows
	builder *Builder
	events  []Message
	past    []episode
	pairs   []*twins
}

// segment makes a segment of events, for each of the twins.
func (r *rehearsal) segment(formats FormatSet, events []Message) (e episode) {
	for i, shared := range []*SharedWindows{&r.windows, nil} {
		r.builder.Start(Audience{Topic: "t", Formats: formats, Shared: shared})
		for j := range events {
			_ = r.builder.Add(&events[j])
		}
		e[i] = r.builder.Segment()
	}
	return e
}

// TestSharedWindowsLikeOwn plays random events to channels that share what they can, and to
// others that share nothing: what their clients get, and what is counted, is the same.
func TestSharedWindowsLikeOwn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &rehearsal{builder: NewBuilder(plain{})}
		d := Options{
			Dedupe:        DedupeKey,
			DedupeWindow:  time.Duration(rapid.IntRange(1, 30).Draw(t, "window")) * time.Second,
			DedupeEntries: rapid.IntRange(1, 30).Draw(t, "entries"),
		}
		kinds := rapid.IntRange(1, 40).Draw(t, "kinds of keys")
		clock := time.Unix(1000, 0)
		join := func(t *rapid.T) {
			d := d
			d.Overflow = rapid.SampledFrom([]Overflow{CatchUp, DropOldest, DropNewest, Disconnect, Latest}).Draw(t, "overflow")
			d.MailboxSize = rapid.SampledFrom([]int{3, 10, 1000}).Draw(t, "size")
			r.pairs = append(r.pairs, newTwins(t, d, rapid.SampledFrom([]int{60, 1 << 20}).Draw(t, "bytes")))
			ahead := rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "ahead")
			for _, m := range r.pairs[len(r.pairs)-1].boxes {
				m.pushed = int64(len(r.events) + ahead)
			}
		}
		some := func(t *rapid.T) *twins {
			if len(r.pairs) == 0 {
				t.Skip("nobody is there")
			}
			return rapid.SampledFrom(r.pairs).Draw(t, "who")
		}
		take := func(t *rapid.T) {
			p := some(t)
			if a, b := p.lines[0].drain(), p.lines[1].drain(); a != b {
				t.Fatalf("sharing %q, alone %q", a, b)
			}
		}
		events := func(t *rapid.T) {
			first := len(r.events)
			for range rapid.IntRange(1, 12).Draw(t, "messages") {
				clock = clock.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "seconds")) * time.Second)
				late := time.Duration(rapid.IntRange(0, 3).Draw(t, "late")) * time.Second
				m := Message{Offset: int64(len(r.events) + 1), Topic: "t", Event: "e", Payload: []byte("{}"), InsertedAt: clock.Add(-late)}
				if k := rapid.IntRange(0, kinds).Draw(t, "key"); k > 0 {
					m.Key = fmt.Append(nil, k)
				}
				r.events = append(r.events, m)
			}
			e := r.segment(whole, r.events[first:])
			r.past = append(r.past, e)
			if rapid.IntRange(0, 15).Draw(t, "was it encoded before somebody asked for it") == 15 {
				e = r.segment(Formats(0), r.events[first:])
			}
			for _, p := range rapid.Permutation(r.pairs).Draw(t, "order") {
				if rapid.IntRange(0, 15).Draw(t, "is it passed over") == 15 {
					continue // nobody is; so nothing depends on it
				}
				for i, m := range p.boxes {
					m.Deliver(e[i], clock)
					if p.lines[i].overflowed > 0 {
						p.lines[i].Close(nil, DropTooSlow)
					}
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"events": events, "more events": events, "join": join, "one more joins": join, "take": take, "take more": take,
			"a broadcast": func(t *rapid.T) {
				e := r.segment(whole, []Message{{Topic: "t", Event: "b", Payload: []byte("{}")}})
				for _, p := range r.pairs {
					for i, m := range p.boxes {
						m.Deliver(e[i], clock)
					}
				}
			},
			"end": func(t *rapid.T) {
				for i, p := range r.pairs {
					if who := some(t); p == who {
						_, _ = p.boxes[0].End(false), p.boxes[1].End(false)
						r.pairs = append(r.pairs[:i:i], r.pairs[i+1:]...)
						return
					}
				}
			},
			"catch up": func(t *rapid.T) {
				p := some(t)
				for i, m := range p.boxes {
					all := true
					for _, e := range r.past {
						all = all && m.Refill(e[i], false)
					}
					if all {
						m.GoLive(int64(len(r.events)))
					}
				}
			},
			"": func(t *rapid.T) { r.check(t) },
		})
	})
}

// check compares the twins, and counts who shares what.
func (r *rehearsal) check(t *rapid.T) {
	members, behind := make(map[*sharedWindow]int), make(map[*sharedWindow]int)
	for _, p := range r.pairs {
		a, b := p.boxes[0], p.boxes[1]
		if a.messages != b.messages || a.pushed != b.pushed || a.catchingUp != b.catchingUp || p.lines[0].held != p.lines[1].held {
			t.Fatalf("sharing %d messages up to %d, behind %v, %d bytes; alone %d up to %d, behind %v, %d bytes",
				a.messages, a.pushed, a.catchingUp, p.lines[0].held, b.messages, b.pushed, b.catchingUp, p.lines[1].held)
		}
		if a, b := a.counters.duplicate.Value(), b.counters.duplicate.Value(); a != b {
			t.Fatalf("sharing %d withheld, alone %d", a, b)
		}
		if a, b := a.counters.replayed.Value(), b.counters.replayed.Value(); a != b {
			t.Fatalf("sharing %d replayed, alone %d", a, b)
		}
		for _, reason := range dropReasons {
			if a, b := a.counters.dropped[reason].Value(), b.counters.dropped[reason].Value(); a != b {
				t.Fatalf("sharing %d dropped for %s, alone %d", a, reason, b)
			}
		}
		if a.dedupe == nil || a.dedupe.shared == nil {
			continue
		}
		w := a.dedupe.shared
		members[w]++
		if a.dedupe.version != w.version {
			behind[w]++
		}
	}
	listed := 0
	for w, n := range members {
		if w.members != n || w.behind != behind[w] {
			t.Fatalf("%d share a window, %d of them behind; it has counted %d, %d", n, behind[w], w.members, w.behind)
		}
		if w.listed {
			listed++
		}
	}
	if len(r.windows.list) != listed || listed > mostShared {
		t.Fatalf("%d windows of %d that are shared can be found", len(r.windows.list), len(members))
	}
}

// TestASharedSegmentIsTakenFromItsBeginning has a channel that needs only the end of a segment
// take that, and then another one, which remembers the same, the whole.
func TestASharedSegmentIsTakenFromItsBeginning(t *testing.T) {
	t.Parallel()
	r := &rehearsal{builder: NewBuilder(plain{})}
	a, b := newTwins(t, Options{Dedupe: DedupeKey}, 1<<20), newTwins(t, Options{Dedupe: DedupeKey}, 1<<20)
	b.boxes[0].pushed = 4
	for i, key := range []string{"", "", "k", "l", "k", "m", "k"} {
		m := Message{Offset: int64(i + 1), Topic: "t", Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(1000, 0)}
		if key != "" {
			m.Key = []byte(key)
		}
		r.events = append(r.events, m)
	}
	first, second := r.segment(whole, r.events[:2]), r.segment(whole, r.events[2:])
	a.boxes[0].Deliver(first[0], time.Unix(1000, 0)) // after which it remembers nothing, as b does
	b.boxes[0].Deliver(first[0], time.Unix(1000, 0))
	b.boxes[0].Deliver(second[0], time.Unix(1000, 0))
	if b.boxes[0].dedupe.shared == nil {
		t.Error("b does not share what a has")
	}
	a.boxes[0].Deliver(second[0], time.Unix(1000, 0))
	if got, want := a.lines[0].drain(), "0:e 1 {};0:e 2 {};0:e 3 {};0:e 4 {};0:e 6 {};"; got != want {
		t.Errorf("a gets %q, want %q", got, want)
	}
	if got, want := b.lines[0].drain(), "0:e 5 {};0:e 6 {};"; got != want {
		t.Errorf("b gets %q, want %q", got, want)
	}
}

// TestOneWindowForAll has channels that get the same remember it together, also those that
// have joined later, or been behind, once nothing tells them apart any more.
func TestOneWindowForAll(t *testing.T) {
	t.Parallel()
	const channels, limit = 100, 20
	r := &rehearsal{builder: NewBuilder(plain{})}
	d := Options{Overflow: DropNewest, Dedupe: DedupeKey, DedupeEntries: limit, MailboxSize: 100}
	join := func() {
		r.pairs = append(r.pairs, newTwins(t, d, 1<<20))
	}
	say := func() {
		offset := int64(len(r.events) + 1)
		m := Message{Offset: offset, Topic: "t", Event: "e", Key: fmt.Append(nil, offset), Payload: []byte("{}"), InsertedAt: time.Unix(1000+offset, 0)}
		r.events = append(r.events, m)
		e := r.segment(whole, r.events[offset-1:])
		for _, p := range r.pairs {
			p.boxes[0].Deliver(e[0], m.InsertedAt)
			p.lines[0].drain()
		}
	}
	together := func() bool {
		w := r.pairs[0].boxes[0].dedupe.shared
		for _, p := range r.pairs {
			if d := p.boxes[0].dedupe; w == nil || d.shared != w || d.own != nil {
				return false
			}
		}
		return w.members == len(r.pairs)
	}
	for range channels {
		join()
	}
	for range 2 {
		say()
	}
	if !together() {
		t.Fatal("channels that have had the same do not share a window")
	}
	join() // and remembers less, until the others have forgotten what came before
	r.pairs[0].boxes[0].dedupe.leave()
	say()
	if together() {
		t.Fatal("a channel that joins later shares what it has not been sent")
	}
	for range 4 * limit {
		say()
	}
	if !together() {
		t.Fatal("channels that remember the same do not share a window")
	}
	for _, p := range r.pairs {
		_ = p.boxes[0].End(false)
	}
	if len(r.windows.list) != 0 {
		t.Errorf("%d windows are kept for nobody", len(r.windows.list))
	}
}

// TestAFullMailboxCopiesNoWindow has clients take nothing, so that their channels cannot go on
// with what they share: they do not copy all that they remember for each segment.
func TestAFullMailboxCopiesNoWindow(t *testing.T) {
	t.Parallel()
	const limit, segments = 64, 1024
	for _, overflow := range []Overflow{DropOldest, DropNewest} {
		for _, keyed := range []bool{true, false} {
			for clients := 1; clients <= 3; clients++ {
				t.Run(fmt.Sprint(overflow, " keyed ", keyed, " clients ", clients), func(t *testing.T) {
					t.Parallel()
					r := &rehearsal{builder: NewBuilder(plain{})}
					d := Options{Overflow: overflow, Dedupe: DedupeKey, DedupeEntries: limit, MailboxSize: limit}
					for range clients {
						r.pairs = append(r.pairs, newTwins(t, d, 1<<20))
					}
					copies, last := 0, make(map[*twins]*dedupeWindow)
					for offset := int64(1); offset <= 2*limit+segments; offset++ {
						m := Message{Offset: offset, Topic: "t", Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(1000, 0)}
						if keyed || offset <= limit {
							m.Key = fmt.Append(nil, offset)
						}
						e := r.segment(whole, []Message{m})
						for _, p := range r.pairs {
							p.boxes[0].Deliver(e[0], m.InsertedAt)
							d := p.boxes[0].dedupe
							window := d.own
							if window == nil {
								window = d.shared.window
							}
							if window != last[p] && offset > 2*limit {
								copies++
							}
							last[p] = window
							if d.compared > window.end {
								t.Fatalf("compared at %d, beyond the end %d", d.compared, window.end)
							}
						}
					}
					// A few for each time that as much has been sent as is remembered: one of its own, and
					// those by which it has what others have.
					if most := clients * (4*segments/limit + 2); copies > most {
						t.Errorf("%d segments had a window of %d copied %d times, more than %d", segments, limit, copies, most)
					}
				})
			}
		}
	}
}
