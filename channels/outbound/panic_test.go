package outbound

import (
	"errors"
	"strings"
	"testing"
)

// fragile panics for the payload "panic", in one format, after it has written.
type fragile struct {
	plain
	in Format
}

func (e fragile) AppendMessage(dst []byte, f Format, m *Message) ([]byte, error) {
	dst, err := e.plain.AppendMessage(dst, f, m)
	if f == e.in && string(m.Payload) == "panic" {
		panic("poisoned")
	}
	return dst, err
}

// TestBuilderOutlivesPanics: a message whose encoding panics is left out, of all
// formats, and nothing of it is in this segment or a later one.
func TestBuilderOutlivesPanics(t *testing.T) {
	t.Parallel()
	formats := Formats(0, 1, 2, Raw)
	for f := range Formats(0, 1, 2).All() {
		for at := range 3 {
			b := NewBuilder(fragile{in: f})
			for _, topic := range []string{"first", "second"} {
				b.Start(Audience{Topic: topic, Formats: formats})
				for i := range 3 {
					payload := topic
					if topic == "first" && i == at {
						payload = "panic"
					}
					err := b.Add(&Message{Offset: int64(i + 1), Event: "e", Payload: []byte(payload)})
					var panicked *PanicError
					if errors.As(err, &panicked) != (payload == "panic") {
						t.Fatalf("format %d, message %d of %s: %v", f, i, topic, err)
					}
				}
				seg, want := b.Segment(), 3
				if topic == "first" {
					want = 2
				}
				for g := range formats.All() {
					frames, n := after(seg, 0, g)
					if n != want || strings.Count(frames, topic) != want || strings.Contains(frames, "panic") {
						t.Fatalf("panic in format %d at %d: %s in format %d is %q", f, at, topic, g, frames)
					}
				}
			}
		}
	}
}
