package stages_test

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

// plain encodes a message as "<offset> " and refuses the event "bad".
type plain struct{ encoded *int }

func (p plain) AppendMessage(dst []byte, f outbound.Format, m *outbound.Message) ([]byte, error) {
	if m.Event == "bad" {
		return dst, errors.New("bad event")
	}
	if p.encoded != nil {
		*p.encoded++
	}
	return append(strconv.AppendInt(dst, m.Offset, 10), ' '), nil
}

func (plain) AppendPush(dst []byte, _ outbound.Format, _ outbound.Address, _ string, _ outbound.Payload) ([]byte, error) {
	return dst, nil
}

func (plain) AppendReply(dst []byte, _ outbound.Format, _ outbound.Address, _ outbound.Status, _ outbound.Payload) ([]byte, error) {
	return dst, nil
}

// frames is what a client gets of a segment.
func frames(t *testing.T, segment *outbound.Segment) string {
	t.Helper()
	ignore := func() {}
	conn := outbound.NewConnection(channels.NewHub(nil), outbound.ConnectionConfig{Replies: 1, Bytes: 1 << 20, Wake: ignore, Overflow: ignore})
	var m outbound.Mailbox
	m.Init(conn, 0, 0, nil)
	m.Configure(outbound.Options{}.WithDefaults(), false)
	if err := m.Join(-1, true, func(int64) ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	m.Deliver(segment, time.Now())
	var batch outbound.WriteBatch
	var got []byte
	for conn.Take(&batch, 1<<20, 16) {
		got = slices.Concat(got, slices.Concat(batch.Frames...))
	}
	return string(got)
}

// watching is the formats that topics are watched in.
type watching map[string]outbound.FormatSet

func (w watching) Watched(topic string) outbound.Audience {
	return outbound.Audience{Topic: topic, Formats: w[topic]}
}

// events makes one event for each word "topic" or "topic/name", from the given offset on.
func events(first int64, words ...string) []store.Event {
	out := make([]store.Event, len(words))
	for i, word := range words {
		topic, name, _ := strings.Cut(word, "/")
		out[i] = store.Event{Offset: first + int64(i), Topic: topic, Name: name, Payload: []byte("{}")}
	}
	return out
}

func TestEncodeGroupsByTopicInOrder(t *testing.T) {
	t.Parallel()
	both := outbound.Formats(0, 1)
	for _, test := range []struct {
		name     string
		watching watching
		size     int
		events   []store.Event
		want     []string // topic: offsets, for each segment
		encoded  int      // calls of the serializer
	}{
		{"none", watching{"a": 1}, 10, nil, nil, 0},
		{"one topic", watching{"a": 1}, 10, events(1, "a", "a"), []string{"a: 1 2 "}, 2},
		{"interleaved", watching{"a": 1, "b": 1}, 10, events(5, "a", "b", "a", "b", "a"), []string{"a: 5 7 9 ", "b: 6 8 "}, 5},
		{"nobody watches b", watching{"a": 1}, 10, events(5, "a", "b", "a"), []string{"a: 5 7 "}, 2},
		{"nobody watches", watching{}, 10, events(5, "a", "b", "a"), nil, 0},
		{"two formats", watching{"a": both}, 10, events(1, "a", "a"), []string{"a: 1 2 "}, 4},
		{"cut at the segment's size", watching{"a": 1}, 2, events(1, "a", "a", "a", "a", "a"), []string{"a: 1 2 ", "a: 3 4 ", "a: 5 "}, 5},
		{"a bad event fails alone", watching{"a": 1, "b": 1}, 10, events(1, "a", "a/bad", "b/bad", "a"), []string{"a: 1 4 "}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			encoded := 0
			encoder := stages.NewEncoder(plain{&encoded}, test.watching, stages.EncoderConfig{SegmentSize: test.size, SegmentBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
			for range 2 { // the second time with reused memory
				encoded = 0
				var got []string
				segments, err := encoder.Encode(t.Context(), test.events)
				if err != nil {
					t.Fatal(err)
				}
				for _, segment := range segments {
					got = append(got, segment.Topic()+": "+frames(t, segment))
				}
				if !slices.Equal(got, test.want) || encoded != test.encoded {
					t.Errorf("got %q, %d encoded; want %q, %d", got, encoded, test.want, test.encoded)
				}
			}
		})
	}
}

func TestEncodeCountsWhatFails(t *testing.T) {
	t.Parallel()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	encoder := stages.NewEncoder(plain{}, watching{"a": 1}, stages.EncoderConfig{SegmentSize: 10, SegmentBytes: 1 << 20, Metrics: set, Logger: slog.New(slog.DiscardHandler)})
	encoder.Encode(t.Context(), events(1, "a/bad", "a", "a/bad"))
	if got := set.Counter(metrics.StageErrors, metrics.Stage("encode")).Value(); got != 2 {
		t.Errorf("counted %d failures, want 2", got)
	}
}

func TestEncodeAllocatesPerSegment(t *testing.T) { // not parallel: it counts allocations
	encoder := stages.NewEncoder(plain{}, watching{"a": 1, "b": 1}, stages.EncoderConfig{SegmentSize: 1000, SegmentBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	allocations := func(n int) float64 {
		batch := events(1, slices.Repeat([]string{"a", "b"}, n/2)...)
		return testing.AllocsPerRun(20, func() { encoder.Encode(t.Context(), batch) })
	}
	if few, many := allocations(10), allocations(500); many > few+1 {
		t.Errorf("10 events cost %v allocations, 500 cost %v", few, many)
	}
}

// TestEncodeOutlivesPanics: wherever a batch's encoding panics, what is encoded after
// it is what a new encoder would have made, above all for whom.
func TestEncodeOutlivesPanics(t *testing.T) {
	t.Parallel()
	made := func(e *stages.Encoder, batch []store.Event) (got []string, panicked bool) {
		defer func() { panicked = recover() != nil }()
		segments, err := e.Encode(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range segments {
			got = append(got, s.Topic()+": "+frames(t, s))
		}
		return got, false
	}
	config := stages.EncoderConfig{SegmentSize: 10, SegmentBytes: 1 << 20, Logger: slog.New(slog.DiscardHandler)}
	first, second := events(1, "a", "b", "c", "b"), events(5, "d", "c", "b", "a", "d")
	for calls := 0; ; calls++ {
		w := &brittle{left: calls}
		encoder := stages.NewEncoder(w, w, config)
		want, _ := made(stages.NewEncoder(plain{}, watching{"a": 1, "b": 1, "c": 1, "d": 1}, config), second)
		_, _ = made(encoder, first)
		if w.left > 0 {
			break // it did not come to that
		}
		w.left = 1 << 30
		if got, panicked := made(encoder, second); panicked || !slices.Equal(got, want) {
			t.Errorf("after a panic in call %d: %q, %v; want %q", calls, got, panicked, want)
		}
	}
}

// brittle watches everything and encodes like plain, and panics once it was called so
// many times.
type brittle struct {
	plain
	left int
}

func (b *brittle) call() {
	if b.left == 0 {
		panic("poisoned")
	}
	b.left--
}

func (b *brittle) Watched(topic string) outbound.Audience {
	b.call()
	return outbound.Audience{Topic: topic, Formats: 1}
}

func (b *brittle) AppendMessage(dst []byte, f outbound.Format, m *outbound.Message) ([]byte, error) {
	dst, err := b.plain.AppendMessage(dst, f, m)
	b.call()
	return dst, err
}
