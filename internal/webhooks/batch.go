package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/store"
)

// Bounds of what is read of the log for one request, events that do not match among it.
const (
	pageEvents = 500
	pageBytes  = 1 << 20
	maxPages   = 32
)

// batch is what one request tells.
type batch struct {
	epoch   string
	text    []byte  // the body, but for what follows its last event
	ends    []int   // where each event ends in it
	offsets []int64 // of each event
	through int64   // the position that it leads to
	full    bool    // more was there than it takes
}

func newBatch(epoch string, after int64) *batch {
	return &batch{epoch: epoch, text: fmt.Appendf(nil, `{"epoch":%s,"events":[`, quote(epoch)), through: after}
}

// gather reads what follows a position. A batch without events has come to the end of the
// log, or read as much as it may at a time.
func (s *sender) gather(ctx context.Context, epoch string, after int64) (*batch, error) {
	b := newBatch(epoch, after)
	for range maxPages {
		events, err := s.log.Fetch(ctx, b.through, store.Limit{Events: pageEvents, Bytes: pageBytes, Epoch: epoch})
		if err != nil || len(events) == 0 {
			return b, err
		}
		for i := range events {
			if s.hook.matches(events[i].Topic) && !b.add(&events[i], s.limit, s.hook.BatchBytes) {
				b.full = true
				return b, nil
			}
			b.through = events[i].Offset
		}
		if len(events) < pageEvents && len(b.ends) > 0 {
			return b, nil // most likely all that there is
		}
	}
	b.full = true
	return b, nil
}

// forget reads a batch anew that is to be repeated, if something was erased since it was read:
// the same events, without the payloads that are gone.
func (s *sender) forget(ctx context.Context, at store.Cursor, b *batch) error {
	extent, err := s.log.Extent(ctx)
	if err != nil || extent.Erased == s.erased {
		return err
	}
	s.erased = extent.Erased // before it is read: what is erased later is seen next time
	anew, err := s.gather(ctx, b.epoch, at.Offset)
	if err != nil {
		return err
	}
	last := b.offsets[len(b.offsets)-1]
	if same := sort.Search(len(anew.offsets), func(i int) bool { return anew.offsets[i] > last }); same > 0 && same < len(anew.offsets) {
		anew.cut(same)
	}
	*b = *anew
	return nil
}

// add takes an event up, unless the batch is full.
func (b *batch) add(e *store.Event, most, bytes int) bool {
	if len(b.ends) >= most {
		return false
	}
	before := len(b.text)
	if len(b.ends) > 0 {
		b.text = append(b.text, ',')
	}
	b.text = appendEvent(b.text, e)
	if len(b.ends) > 0 && len(b.text)+len(tail) > bytes {
		b.text = b.text[:before]
		return false
	}
	b.ends, b.offsets = append(b.ends, len(b.text)), append(b.offsets, e.Offset)
	return true
}

// tail is what follows the last event.
const tail = "]}"

// cut leaves the first n events.
func (b *batch) cut(n int) {
	b.ends, b.offsets = b.ends[:n], b.offsets[:n]
	b.text, b.through, b.full = b.text[:b.ends[n-1]], b.offsets[n-1], true
}

func (b *batch) body() []byte { return append(b.text[:len(b.text):len(b.text)], tail...) }

// id is the same for the same events.
func (b *batch) id(name string) string {
	return fmt.Sprintf("%s/%s/%d-%d", name, b.epoch, b.offsets[0], b.offsets[len(b.offsets)-1])
}

// appendEvent writes an event as GET /api/log does, its payload as it was written.
func appendEvent(text []byte, e *store.Event) []byte {
	text = fmt.Appendf(text, `{"offset":%d,"topic":%s,"event":%s,"payload":`, e.Offset, quote(e.Topic), quote(e.Name))
	if utf8.Valid(e.Payload) {
		text = append(text, e.Payload...)
	} else {
		text = append(text, bytes.ToValidUTF8(e.Payload, []byte("\ufffd"))...)
	}
	if e.Key != nil {
		text = fmt.Appendf(text, `,"key":%s`, quote(string(e.Key)))
	}
	return fmt.Appendf(text, `,"inserted_at":%s}`, quote(e.InsertedAt.UTC().Format(time.RFC3339Nano)))
}

func quote(text string) []byte {
	quoted, _ := json.Marshal(text) // a string always marshals
	return quoted
}

// reset tells that what lies between two positions will not be sent, because it is no longer
// kept, or that the log has begun a new epoch: it may have taken back what it had behind the
// position that is gone on from.
type reset struct {
	Epoch     string `json:"epoch"`      // of the log
	From      int64  `json:"from"`       // the position that the webhook had
	FromEpoch string `json:"from_epoch"` // and its epoch
	To        int64  `json:"to"`         // what follows this is sent next
}

func (r *reset) body() []byte {
	text, _ := json.Marshal(struct { // texts and numbers always marshal
		Epoch string `json:"epoch"`
		Reset *reset `json:"reset"`
	}{r.Epoch, r})
	return text
}

func (r *reset) id(name string) string {
	return fmt.Sprintf("%s/%s/reset-%d-%d", name, r.Epoch, r.From, r.To)
}
