package outbound

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// keyed makes a segment of events with these keys, "" for none, in the given
// formats. Offsets follow on one another, and so do the seconds of insertion
// unless the test says otherwise.
func keyed(t testing.TB, formats FormatSet, first int64, keys ...string) *Segment {
	t.Helper()
	b := NewBuilder(plain{})
	b.Start(Audience{Topic: "t", Formats: formats})
	for i, key := range keys {
		m := Message{Offset: first + int64(i), Topic: "t", Event: "e", Payload: []byte("{}"), InsertedAt: time.Unix(first+int64(i), 0)}
		if key != "" {
			m.Key = []byte(key)
		}
		if err := b.Add(&m); err != nil {
			t.Fatal(err)
		}
	}
	return b.Segment()
}

// naive is what [sent] is to be, with all that was ever sent in a list.
type naive struct {
	window  time.Duration
	entries int
	list    []naiveRecord
}

type naiveRecord struct {
	key      string
	inserted time.Time
	shed     bool
}

// repeats and note do what a mailbox does with a message.
func repeats(s *dedupeWindow, seg *Segment, i int) bool {
	d := s.of(seg).fingerprint(i)
	return d.hash != noHash && s.repeats(d)
}

func note(s *dedupeWindow, seg *Segment, i int) {
	if d := s.of(seg).fingerprint(i); d.hash != noHash {
		s.note(d)
	}
}

func (n *naive) repeats(key string, inserted time.Time) bool {
	for i := len(n.list) - 1; i >= max(0, len(n.list)-n.entries); i-- {
		if r := n.list[i]; r.key == key && !r.shed {
			return key != "" && inserted.Sub(r.inserted).Abs() < n.window
		}
	}
	return false
}

func (n *naive) note(key string, inserted time.Time) {
	if key != "" {
		n.list = append(n.list, naiveRecord{key, inserted, false})
	}
}

func (n *naive) forget(key string) {
	for i := range n.list {
		if n.list[i].key == key {
			n.list[i].shed = true
		}
	}
}

// TestDedupeWindowAgainstModel plays random messages, some of which come up to a window
// late, against the memory of what was sent and a list.
func TestDedupeWindowAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		window := time.Duration(rapid.IntRange(1, 40).Draw(t, "window")) * time.Second
		limit := rapid.IntRange(1, 40).Draw(t, "entries")
		kinds := rapid.IntRange(1, 80).Draw(t, "kinds of keys")
		s, model := newDedupeWindow(keyFingerprints, window, limit), &naive{window: window, entries: limit}
		clock := time.Unix(1_000_000, 0)
		b := NewBuilder(plain{})
		for offset := range int64(rapid.IntRange(1, 300).Draw(t, "messages")) {
			clock = clock.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second)
			late := time.Duration(rapid.Int64Range(0, int64(window)-1).Draw(t, "late"))
			if rapid.IntRange(0, 3).Draw(t, "whether late") > 0 {
				late = 0
			}
			m := Message{Offset: offset + 1, InsertedAt: clock.Add(-late)}
			key := ""
			if k := rapid.IntRange(0, kinds).Draw(t, "key"); k > 0 {
				key = fmt.Sprint(k)
				m.Key = []byte(key)
			}
			b.Start(Audience{Topic: "t", Formats: Formats(keyFingerprints)})
			_ = b.Add(&m)
			seg := b.Segment()
			got, want := repeats(s, seg, 0), model.repeats(key, m.InsertedAt)
			if got != want {
				t.Fatalf("offset %d, key %q: repeats is %v, want %v", m.Offset, key, got, want)
			}
			switch {
			case !got:
				note(s, seg, 0)
				model.note(key, m.InsertedAt)
			case rapid.IntRange(0, 9).Draw(t, "what of it") == 0:
				s.forget(seg.fingerprint(keyFingerprints, 0))
				model.forget(key)
			}
			if size := 16*len(s.ring) + 4*len(s.table); size > 48*max(limit, leastRing) {
				t.Fatalf("%d bytes for %d messages", size, limit)
			}
		}
	})
}

func TestDedupeWindowForgetsWhatIsOld(t *testing.T) {
	t.Parallel()
	s := newDedupeWindow(keyFingerprints, time.Second, 1<<20)
	for offset := range int64(10_000) { // one a second
		note(s, keyed(t, Formats(keyFingerprints), offset+1, fmt.Sprint(offset)), 0)
	}
	if len(s.ring) > leastRing {
		t.Errorf("%d records are kept for a window of one", len(s.ring))
	}
}

func TestRepeats(t *testing.T) {
	t.Parallel()
	at := time.Unix(1000, 0)
	first := Message{Offset: 1, Event: "e", Key: []byte("k"), Payload: []byte("{}"), InsertedAt: at}
	for _, test := range []struct {
		name         string
		change       func(m *Message)
		key, payload bool
	}{
		{"the same", func(*Message) {}, true, true},
		{"another key", func(m *Message) { m.Key = []byte("l") }, false, true},
		{"no key", func(m *Message) { m.Key = nil }, false, true},
		{"an empty key", func(m *Message) { m.Key = []byte{} }, false, true},
		{"another payload", func(m *Message) { m.Payload = []byte("[]") }, true, false},
		{"another event", func(m *Message) { m.Event = "f" }, true, false},
		{"within the window", func(m *Message) { m.InsertedAt = at.Add(time.Minute - 1) }, true, true},
		{"beyond the window", func(m *Message) { m.InsertedAt = at.Add(time.Minute) }, false, false},
		{"late, within the window", func(m *Message) { m.InsertedAt = at.Add(1 - time.Minute) }, true, true},
		{"late, beyond the window", func(m *Message) { m.InsertedAt = at.Add(-time.Minute) }, false, false},
		{"a broadcast", func(m *Message) { m.Offset = 0 }, false, false},
	} {
		for by, want := range map[Format]bool{keyFingerprints: test.key, payloadFingerprints: test.payload} {
			t.Run(fmt.Sprint(test.name, by), func(t *testing.T) {
				t.Parallel()
				s, b := newDedupeWindow(by, time.Minute, 10), NewBuilder(plain{})
				segment := func(m Message) *Segment {
					b.Start(Audience{Topic: "t", Formats: Formats(by)})
					_ = b.Add(&m)
					return b.Segment()
				}
				note(s, segment(first), 0)
				second := first
				second.Offset = 2
				test.change(&second)
				if got := repeats(s, segment(second), 0); got != want {
					t.Errorf("by format %d: repeats is %v", by, got)
				}
			})
		}
	}
}

func TestNoKeysRepeatNothing(t *testing.T) {
	t.Parallel()
	s, seg := newDedupeWindow(keyFingerprints, time.Minute, 10), keyed(t, Formats(keyFingerprints), 1, "", "")
	note(s, seg, 0)
	if repeats(s, seg, 1) || len(s.ring) > 0 {
		t.Error("an event without a key is remembered")
	}
}

func BenchmarkSent(b *testing.B) {
	s := newDedupeWindow(keyFingerprints, time.Hour, 4096)
	keys := make([]string, 8192)
	for i := range keys {
		keys[i] = fmt.Sprint(i)
	}
	seg := keyed(b, Formats(keyFingerprints), 1, keys...)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i &= 8191; !repeats(s, seg, i) {
			note(s, seg, i)
		}
	}
}
