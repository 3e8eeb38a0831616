package outbound

import "time"

// WriteBatch is what a writer takes at a time. Take reuses its memory.
type WriteBatch struct {
	Frames   [][]byte
	Queued   time.Time   // when the oldest of it was queued
	Inserted []time.Time // for each piece of the log that came live, when its oldest event was inserted
	Last     bool        // nothing will follow
	Bytes    int         // of Frames

	queued moment // as Queued, while the batch is being filled
	counts []count
	ahead  int // what Connection.lookAhead has found: nobody needs it, but so it has to look
}

// count is how many of a batch's messages count in a set of counters.
type count struct {
	counters *counters
	messages int
}

// Written counts the batch's messages as pushed.
func (b *WriteBatch) Written() {
	for _, c := range b.counts {
		c.counters.pushed.Add(int64(c.messages))
	}
	b.counts = b.counts[:0]
}

// Lost counts the batch's messages as dropped, because it could not be written, or
// not all of it: what the client has got of it is not known. After Written it does
// nothing.
func (b *WriteBatch) Lost(reason DropReason) {
	for _, c := range b.counts {
		c.counters.drop(reason, c.messages)
	}
	b.counts = b.counts[:0]
}

// empty makes the batch one of nothing. What has not been written is lost. Its
// memory is kept.
func (b *WriteBatch) empty() {
	b.Lost(DropClosed)
	clear(b.Frames)
	b.Frames, b.Inserted, b.counts = b.Frames[:0], b.Inserted[:0], b.counts[:0]
	b.Queued, b.queued, b.Last, b.Bytes = time.Time{}, 0, false, 0
}

// add puts an entry into the batch.
func (b *WriteBatch) add(e *entry) {
	b.Frames = append(b.Frames, e.frames)
	b.Bytes += len(e.frames)
	if e.kind != control {
		b.count(e.counters, int(e.messages))
	}
	if b.queued == 0 || e.queued < b.queued {
		b.queued = e.queued
	}
	if e.oldest != 0 {
		b.Inserted = append(b.Inserted, time.Unix(0, e.oldest))
	}
}

func (b *WriteBatch) count(s *counters, messages int) {
	for i := range b.counts {
		if b.counts[i].counters == s {
			b.counts[i].messages += messages
			return
		}
	}
	b.counts = append(b.counts, count{s, messages})
}
