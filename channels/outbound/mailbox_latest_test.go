package outbound

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// pile is what a mailbox with the rule Latest is to be, as a list.
type pile struct {
	size     int
	list     []pileMessage
	squeezed bool
	counts   map[DropReason]int
}

type pileMessage struct {
	key    string
	offset int64
}

func (p *pile) supersede(key string) {
	for i, m := range p.list {
		if key != "" && m.key == key {
			p.list = slices.Delete(p.list, i, i+1)
			p.counts[DropSuperseded]++
			return
		}
	}
}

func (p *pile) add(key string, offset int64) {
	if p.squeezed {
		p.supersede(key)
	}
	if len(p.list) == p.size && !p.squeezed {
		p.squeezed = true
		all := p.list
		p.list = nil
		for _, m := range all {
			p.supersede(m.key)
			p.list = append(p.list, m)
		}
		p.supersede(key)
	}
	for len(p.list) >= p.size {
		p.list = p.list[1:]
		p.counts[DropOverflow]++
	}
	p.list = append(p.list, pileMessage{key, offset})
}

func (p *pile) take() (frame string) {
	frame = fmt.Sprintf("0:e %d {};", p.list[0].offset)
	if p.list = p.list[1:]; len(p.list) == 0 {
		p.squeezed = false
	}
	return frame
}

// TestLatestAgainstModel plays random segments and a client that is slow now
// and then against a mailbox with the rule Latest and a list. Messages are
// collected in some runs.
func TestLatestAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		set := newMetrics(t)
		l := newLine(newNode(set), rapid.IntRange(1, 12).Draw(t, "size"), 1<<20)
		d := Options{Overflow: Latest}
		if rapid.Bool().Draw(t, "collects") {
			d.FlushInterval = time.Hour // until the test calls timeUp
		}
		m := l.open(sure{}, l.mailbox(d))
		model := &pile{size: l.size, counts: make(map[DropReason]int)}
		offset := int64(1)
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(t *rapid.T) {
				keys := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c", "d", "e", "f", "g"}), 1, 15).Draw(t, "keys")
				m.Deliver(keyed(sure{}, Formats(0, keyFingerprints), offset, keys...), time.Now())
				for _, key := range keys {
					if len(model.list) == 0 && d.FlushInterval > 0 {
						model.squeezed = true
					}
					model.add(key, offset)
					offset++
				}
			},
			"take": func(t *rapid.T) {
				if m.collecting {
					if l.Take(&l.batch, 1, 1) {
						t.Fatal("took what is being collected")
					}
					m.timeUp()
				}
				l.Take(&l.batch, 1<<20, rapid.IntRange(1, 6).Draw(t, "pieces"))
				l.batch.Written()
				got, want := joined(l.batch.Frames), ""
				for len(want) < len(got) && len(model.list) > 0 {
					want += model.take()
				}
				if got != want {
					t.Fatalf("took %q, want %q", got, want)
				}
			},
			"": func(t *rapid.T) {
				checkAccounts(t, l, m)
				if m.messages != len(model.list) || (m.newest != nil) != model.squeezed && m.queue.len() > 0 {
					t.Fatalf("%d messages, newest %v; want %d, %v", m.messages, m.newest != nil, len(model.list), model.squeezed)
				}
				for _, reason := range dropReasons {
					if got := m.counters.dropped[reason].Value(); got != int64(model.counts[reason]) {
						t.Fatalf("dropped %d for %s, want %d", got, reason, model.counts[reason])
					}
				}
			},
		})
		if m.timer != nil {
			m.timer.Stop()
		}
	})
}

// joined is frames as text.
func joined(frames [][]byte) string {
	var b strings.Builder
	for _, frame := range frames {
		b.Write(frame)
	}
	return b.String()
}

func TestASegmentIsChargedUntilItsLastMessageHasGone(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1<<20)
	m := l.open(t, l.mailbox(Options{Overflow: Latest, FlushInterval: time.Hour}))
	formats := Formats(0, keyFingerprints)
	m.Deliver(keyed(t, formats, 1, "a", "b", "c"), time.Now())
	whole, more := 3*len("0:e 1 {};"), len("0:e 10 {};")
	for step, next := range []struct {
		key  string
		held int
	}{{"c", whole + more}, {"b", whole + 2*more}, {"a", 3 * more}, {"a", 3 * more}} {
		m.Deliver(keyed(t, formats, int64(10+step), next.key), time.Now())
		if checkAccounts(t, l, m); l.held != next.held {
			t.Fatalf("charged %d after another %s, want %d", l.held, next.key, next.held)
		}
	}
	l.flushAll()
	if got := l.drain(); got != "0:e 10 {};0:e 11 {};0:e 13 {};" || l.held != 0 {
		t.Errorf("took %q, still charged %d", got, l.held)
	}
}

// A dashboard that is told the same state again after another one must not be
// left with the other one.
func TestWhatIsSupersededWasNotSent(t *testing.T) {
	t.Parallel()
	l := newLine(newNode(nil), 10, 1<<20)
	m := l.open(t, l.mailbox(Options{Overflow: Latest, Dedupe: DedupePayload, FlushInterval: time.Hour}))
	b := NewBuilder(plain{})
	for i, payload := range []string{"on", "off", "on"} {
		b.Start(Audience{Topic: "t", Formats: Formats(0, keyFingerprints, payloadFingerprints)})
		_ = b.Add(&Message{Offset: int64(i + 1), Event: "e", Key: []byte("lamp"), Payload: []byte(payload), InsertedAt: time.Unix(1, 0)})
		m.Deliver(b.Segment(), time.Now())
	}
	l.flushAll()
	if got := l.drain(); got != "0:e 3 on;" {
		t.Errorf("got %q", got)
	}
}
