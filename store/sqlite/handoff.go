package sqlite

import (
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// What is kept of a transaction for who waits for it, at most: a few pages as
// readers ask for them.
const (
	maxFresh      = 4096
	maxFreshBytes = 1 << 20
)

// maxFreshAge is for how long a page may be taken: who waits for it takes it at
// once, and later the log may have been trimmed, or be in another epoch.
var maxFreshAge = 100 * time.Millisecond // tests change it

// page is events that follow one another in the log.
type page struct {
	epoch  string
	made   time.Time
	events []store.Event // one at least
}

// fresh makes events of the drafts, or of as many of the first as may be kept;
// nil for none. They are copies, since the drafts lie in one piece of memory with
// all of their call.
func (r *round) fresh() *page {
	drafts := r.drafts[:min(len(r.drafts), maxFresh)]
	first := r.last - int64(len(r.drafts)) + 1
	at := time.UnixMicro(r.insertedAt).UTC()
	p := page{epoch: r.epoch, made: time.Now(), events: make([]store.Event, 0, len(drafts))}
	var memory arena.Arena
	bytes := 0
	for i := range drafts {
		d := &drafts[i]
		if bytes += len(d.Topic) + len(d.Name) + len(d.Key) + len(d.Payload); bytes > maxFreshBytes {
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

// takeFresh returns the events after an offset, if they are the next of what
// the last transaction has appended. They are given to one reader only.
func (l *Log) takeFresh(after int64, limit store.Limit) []store.Event {
	p := l.fresh.Load()
	if p == nil || p.events[0].Offset != after+1 || time.Since(p.made) > maxFreshAge || limit.Epoch != "" && limit.Epoch != p.epoch {
		return nil
	}
	count, bytes := 0, 0
	for count < min(len(p.events), limit.Events) && (bytes < limit.Bytes || limit.Bytes == 0) {
		bytes += len(p.events[count].Payload)
		count++
	}
	var rest *page
	if count < len(p.events) {
		rest = &page{p.epoch, p.made, p.events[count:]}
	}
	if !l.fresh.CompareAndSwap(p, rest) {
		return nil
	}
	return p.events[:count:count]
}
