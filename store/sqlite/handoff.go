package sqlite

import (
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// What is kept of a transaction for who waits for it, at most: a few pages as
// readers ask for them.
const (
	maxHandoff      = 4096
	maxHandoffBytes = 1 << 20
)

// maxHandoffAge is for how long a page may be taken: who waits for it takes it at
// once, and later the log may have been trimmed, or be in another epoch.
var maxHandoffAge = 100 * time.Millisecond // tests change it

// handoffPage is events that follow one another in the log.
type handoffPage struct {
	epoch  string
	made   time.Time
	events []store.Event // one at least
}

// handoff makes events of the drafts, or of as many of the first as may be kept;
// nil for none. They are copies, since the drafts lie in one piece of memory with
// all of their call.
func (r *round) handoff() *handoffPage {
	drafts := r.drafts[:min(len(r.drafts), maxHandoff)]
	first := r.last - int64(len(r.drafts)) + 1
	at := time.UnixMicro(r.insertedAt).UTC()
	p := handoffPage{epoch: r.epoch, made: time.Now(), events: make([]store.Event, 0, len(drafts))}
	var memory arena.Arena
	bytes := 0
	for i := range drafts {
		d := &drafts[i]
		if bytes += len(d.Topic) + len(d.Name) + len(d.Key) + len(d.Payload); bytes > maxHandoffBytes {
			break
		}
		p.events = append(p.events, store.Event{
			Offset:     first + int64(i),
			Topic:      arena.Text(memory.Keep([]byte(d.Topic))),
			Name:       arena.Text(memory.Keep([]byte(d.Name))),
			Key:        memory.Keep(d.Key),
			Payload:    memory.Keep(d.Payload),
			InsertedAt: at,
		})
	}
	if len(p.events) == 0 {
		return nil
	}
	return &p
}

// takeHandoff returns the events after an offset, if they are the next of what
// the last transaction has appended. They are given to one reader only.
func (l *Log) takeHandoff(after int64, limit store.Limit) []store.Event {
	p := l.handoff.Load()
	if p == nil || p.events[0].Offset != after+1 || time.Since(p.made) > maxHandoffAge || limit.Epoch != "" && limit.Epoch != p.epoch {
		return nil
	}
	count, bytes := 0, 0
	for count < min(len(p.events), limit.Events) && (bytes < limit.Bytes || limit.Bytes == 0) {
		bytes += len(p.events[count].Payload)
		count++
	}
	var rest *handoffPage
	if count < len(p.events) {
		rest = &handoffPage{p.epoch, p.made, p.events[count:]}
	}
	if !l.handoff.CompareAndSwap(p, rest) {
		return nil
	}
	return p.events[:count:count]
}
