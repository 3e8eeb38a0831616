package channels

import "time"

// Batch is what a writer takes at a time. Take reuses its memory.
type Batch struct {
	Frames   [][]byte
	Queued   time.Time   // when the oldest of it was queued
	Inserted []time.Time // for each piece of the log, when its oldest event was inserted
	Last     bool        // nothing will follow

	queued moment // as Queued, while the batch is being filled
	counts []count
}

// count is how many of a batch's messages count in a series.
type count struct {
	series   *series
	messages int
}

// Written counts the batch's messages as pushed.
func (b *Batch) Written() {
	for _, c := range b.counts {
		c.series.pushed.Add(int64(c.messages))
	}
	b.counts = b.counts[:0]
}

// Lost counts the batch's messages as dropped, because it could not be written, or
// not all of it: what the client has got of it is not known. After Written it does
// nothing.
func (b *Batch) Lost(reason DropReason) {
	for _, c := range b.counts {
		c.series.drop(reason, c.messages)
	}
	b.counts = b.counts[:0]
}

// empty makes the batch one of nothing. What has not been written is lost. Its
// memory is kept.
func (b *Batch) empty() {
	b.Lost(DropClosed)
	clear(b.Frames)
	b.Frames, b.Inserted, b.counts = b.Frames[:0], b.Inserted[:0], b.counts[:0]
	b.Queued, b.queued, b.Last = time.Time{}, 0, false
}

// add puts an entry into the batch.
func (b *Batch) add(e *entry) {
	b.Frames = append(b.Frames, e.frames)
	if e.kind != control {
		b.count(e.series, int(e.messages))
	}
	if b.queued == 0 || e.queued < b.queued {
		b.queued = e.queued
	}
	if e.oldest != 0 {
		b.Inserted = append(b.Inserted, time.Unix(0, e.oldest))
	}
}

func (b *Batch) count(s *series, messages int) {
	for i := range b.counts {
		if b.counts[i].series == s {
			b.counts[i].messages += messages
			return
		}
	}
	b.counts = append(b.counts, count{s, messages})
}
