package channels

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/channels/outbound"
)

// ear counts what it hears.
type ear struct{ heard atomic.Int64 }

func (e *ear) Deliver(*outbound.Segment, time.Time) { e.heard.Add(1) }

// TestHubAgainstModel plays random joins, leaves and routes against a hub and a
// map.
func TestHubAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		hub := NewHub(nil)
		type member struct {
			ear    *ear
			format outbound.Format
			heard  int64
		}
		model := map[string]map[*Subscription]*member{"a": {}, "b": {}}
		topic := rapid.SampledFrom([]string{"a", "b"})
		asked := map[string]outbound.Audience{}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				name, format := topic.Draw(t, "topic"), outbound.Format(rapid.IntRange(0, 3).Draw(t, "format"))
				m := &member{ear: new(ear), format: format}
				model[name][subscribe(hub, name, outbound.Formats(format), m.ear)] = m
			},
			"leave": func(t *rapid.T) {
				name := topic.Draw(t, "topic")
				n := rapid.IntRange(0, 40).Draw(t, "how many")
				for sub := range model[name] {
					if n--; n < 0 {
						break
					}
					sub.Cancel()
					sub.Cancel()
					delete(model[name], sub)
				}
			},
			"ask": func(t *rapid.T) {
				name := topic.Draw(t, "topic")
				asked[name] = hub.Watched(name)
			},
			"route": func(t *rapid.T) {
				name := topic.Draw(t, "topic")
				to := outbound.Audience{Topic: name}
				if found := asked[name]; found.Topic != "" && rapid.Bool().Draw(t, "as it was") {
					to = found // perhaps of a topic that has gone, and come back, since
				}
				to.Formats = outbound.Formats(0)
				seg := segmentTo(sure{}, to, 1)
				if n := hub.Route(seg); n != len(model[name]) {
					t.Fatalf("routed to %d, want %d", n, len(model[name]))
				}
				for _, m := range model[name] {
					m.heard++
				}
			},
			"": func(t *rapid.T) {
				var topics, subs int64
				for name, members := range model {
					var formats outbound.FormatSet
					for _, m := range members {
						formats |= outbound.Formats(m.format)
						if got := m.ear.heard.Load(); got != m.heard {
							t.Fatalf("heard %d, want %d", got, m.heard)
						}
					}
					if got := hub.Watched(name).Formats; got != formats {
						t.Fatalf("formats of %s: %b, want %b", name, got, formats)
					}
					if len(members) > 0 {
						topics++
					}
					subs += int64(len(members))
				}
				if hub.Topics() != topics || hub.Channels() != subs {
					t.Fatalf("%d topics and %d channels, want %d and %d", hub.Topics(), hub.Channels(), topics, subs)
				}
			},
		})
	})
}

func TestHubExcept(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	a, b := new(ear), new(ear)
	subscribe(hub, "t", outbound.Formats(0), a)
	subscribe(hub, "t", outbound.Formats(0), b)
	if n := hub.route(segment(t, "t", outbound.Formats(0)), a); n != 1 || a.heard.Load() != 0 || b.heard.Load() != 1 {
		t.Fatal(n, a.heard.Load(), b.heard.Load())
	}
}

func TestHubHead(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	hub.Advance(7)
	hub.Advance(3)
	hub.SetEpoch("x")
	if hub.Head() != 7 || hub.Epoch() != "x" {
		t.Fatal("the head never goes back", hub.Head(), hub.Epoch())
	}
}

// TestHubNoGap lets subscribers join while events are being routed, as the line
// does it: fetch, advance, formats, encode, route. Whoever joined must get
// every event after the head that it was told, once and in order.
func TestHubNoGap(t *testing.T) {
	t.Parallel()
	const events, joiners = 2000, 50
	hub := NewHub(nil)
	var boxes []*outbound.Mailbox
	var heads []int64
	var lines []*line
	var mu sync.Mutex
	var group sync.WaitGroup
	group.Go(func() {
		b := outbound.NewBuilder(plain{})
		for offset := int64(1); offset <= events; offset++ {
			hub.Advance(offset)
			b.Start(hub.Watched("t"))
			_ = b.Add(&Message{Offset: offset, Event: "e"})
			if seg := b.Segment(); seg != nil {
				hub.Route(seg)
				hub.Route(seg) // what comes twice is queued once
			}
		}
	})
	for i := range joiners {
		group.Go(func() {
			for hub.Head() < int64(i*events/joiners) {
				runtime.Gosched()
			}
			l := newLine(hub, events+1, 1<<30)
			m := new(outbound.Mailbox)
			m.Init(l.Connection, outbound.Format(i%4), outbound.Format(i%4), nil)
			m.Configure(Options{MailboxSize: events + 1, Overflow: Disconnect}.WithDefaults(), false)
			subscribe(hub, "t", m.Needs(), m)
			var head int64
			_ = m.Join(-1, true, func(h int64) ([]byte, error) { head = h; return []byte("ok;"), nil })
			mu.Lock()
			defer mu.Unlock()
			boxes, heads, lines = append(boxes, m), append(heads, head), append(lines, l)
		})
	}
	group.Wait()
	for i, l := range lines {
		want := []byte("ok;")
		for offset := heads[i] + 1; offset <= events; offset++ {
			want = fmt.Appendf(want, "%d:e %d ;", boxes[i].Format(), offset)
		}
		if got := l.drain(); got != string(want) {
			t.Fatalf("joined at %d: got %d bytes, want %d", heads[i], len(got), len(want))
		}
	}
}

func BenchmarkHubRoute(b *testing.B) {
	for _, subscribers := range []int{1, 1000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			hub := NewHub(nil)
			lines := make([]*line, subscribers)
			for i := range lines {
				lines[i] = newLine(hub, 1024, 1<<20)
				subscribe(hub, "t", outbound.Formats(0), lines[i].box(b))
			}
			builder := outbound.NewBuilder(plain{})
			builder.Start(outbound.Audience{Topic: "t", Formats: outbound.Formats(0)})
			_ = builder.Add(&Message{Offset: 1, Event: "e", Payload: make([]byte, 100)})
			seg := builder.Segment()
			offsets := offsetsOf(seg)
			b.ReportAllocs()
			for b.Loop() {
				offsets[0]++ // the benchmark's only reader is this goroutine
				hub.Route(seg)
				b.StopTimer()
				for _, l := range lines {
					for l.Take(&l.batch, 1<<20, 16) {
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers), "ns/delivery")
		})
	}
}

// BenchmarkDeliver routes batches of a hundred events to a thousand channels
// that remember what they have sent, or not.
func BenchmarkDeliver(b *testing.B) {
	const batch, subscribers, batches = 100, 1000, 8
	for name, d := range map[string]Options{
		"offset":  {},
		"key":     {Dedupe: DedupeKey, DedupeEntries: 4 * batch},
		"payload": {Dedupe: DedupePayload, DedupeEntries: 4 * batch},
		"latest":  {Overflow: Latest},
	} {
		b.Run(name, func(b *testing.B) {
			hub := NewHub(nil)
			formats := newLine(hub, 1, 1).mailbox(d).Needs()
			lines := make([]*line, subscribers)
			for i := range lines {
				lines[i] = newLine(hub, 1024, 1<<20)
				subscribe(hub, "t", formats, lines[i].open(b, lines[i].mailbox(d)))
			}
			var segments []*outbound.Segment
			builder := outbound.NewBuilder(plain{})
			for i := range batches {
				builder.Start(outbound.Audience{Topic: "t", Formats: formats})
				for j := range batch {
					key := fmt.Append(nil, i*batch+j)
					_ = builder.Add(&Message{Offset: int64(i*batch + j + 1), Event: "e", Key: key, Payload: append(make([]byte, 100), key...), InsertedAt: time.Unix(1, 0)})
				}
				segments = append(segments, builder.Segment())
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				seg := segments[i%batches]
				hub.Route(seg)
				b.StopTimer()
				offsets := offsetsOf(seg)
				for j := range offsets { // the benchmark's only reader is this goroutine
					offsets[j] += batches * batch
				}
				for _, l := range lines {
					for l.Take(&l.batch, 1<<20, 1024) {
					}
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*subscribers*batch), "ns/message")
		})
	}
}
