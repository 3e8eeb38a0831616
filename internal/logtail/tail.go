package logtail

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kept is how many records are kept, and MaxText how many bytes of a record's message,
// and of its attributes.
const (
	Kept    = 100
	MaxText = 1000
)

// Record is one of the log's.
type Record struct {
	Serial  int64     `json:"serial"` // counts up from 1
	At      time.Time `json:"at"`
	Level   string    `json:"level"` // INFO, WARN or ERROR
	Message string    `json:"message"`
	Detail  string    `json:"detail"` // its attributes, as key=value, with spaces between them
}

// Tail keeps records. Its methods may be called concurrently.
type Tail struct {
	also []string // messages below the level of warnings

	mu sync.Mutex
	// Guarded by mu.
	records []Record // the oldest first
	serial  int64    // of the last one
}

// New returns a tail that keeps warnings, errors, and also records with these messages.
func New(also ...string) *Tail { return &Tail{also: also} }

// Records are those that are kept, the newest first.
func (t *Tail) Records() []Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := append([]Record{}, t.records...) // in JSON a list, also of none
	slices.Reverse(list)
	return list
}

func (t *Tail) add(r Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.serial++
	r.Serial = t.serial
	if len(t.records) == Kept {
		t.records = append(t.records[:0], t.records[1:]...)
	}
	t.records = append(t.records, r)
}

// Handler returns a handler that keeps what belongs into the tail, and hands on what
// next wants.
func (t *Tail) Handler(next slog.Handler) slog.Handler { return &handler{tail: t, next: next} }

// handler is one of a tail's, with attributes and groups of its own.
type handler struct {
	tail   *Tail
	next   slog.Handler
	prefix string // names of groups, each followed by a dot
	attrs  string // attributes that all records have, as Detail has them
}

// Enabled implements [slog.Handler].
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || level >= slog.LevelInfo && len(h.tail.also) > 0 || h.next.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn || slices.Contains(h.tail.also, r.Message) {
		var detail strings.Builder
		detail.WriteString(h.attrs)
		r.Attrs(func(a slog.Attr) bool {
			write(&detail, h.prefix, a)
			return detail.Len() < MaxText
		})
		h.tail.add(Record{At: r.Time, Level: r.Level.String(), Message: clip(r.Message), Detail: clip(strings.TrimPrefix(detail.String(), " "))})
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	var text strings.Builder
	text.WriteString(h.attrs)
	for _, a := range attrs {
		write(&text, h.prefix, a)
	}
	with.attrs, with.next = clip(text.String()), h.next.WithAttrs(attrs)
	return &with
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.prefix, with.next = h.prefix+name+".", h.next.WithGroup(name)
	return &with
}

// write writes an attribute, and the attributes of a group each by itself.
func write(to *strings.Builder, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "."
		}
		for _, each := range value.Group() {
			write(to, prefix, each)
		}
		return
	}
	if a.Key != "" && to.Len() < MaxText {
		fmt.Fprintf(to, " %s%s=%s", prefix, a.Key, clip(value.String()))
	}
}

// clip bounds a text, and leaves out what a cut makes of its last character.
func clip(s string) string {
	if len(s) <= MaxText {
		return s
	}
	return strings.ToValidUTF8(s[:MaxText], "") + "…"
}
