package pipeline

import (
	"sync/atomic"
	"time"
)

// Batch is what travels through a line: events, and what tracks the producer's events
// that they stand for. The element of every streams.Flow in a line is a *Batch[T].
//
// One goroutine owns a batch at a time; sending it on gives it away. Events may
// be shared with other lines of a broadcast: read them, never write to them.
type Batch[T any] struct {
	Events []T
	// At is when the oldest of the events left its producer's handler.
	At time.Time

	ranges []trackedRange // in the order of Events, one numbered event for each
	count  int            // events that ranges stand for
	sent   time.Time
	ended  atomic.Bool     // its ranges were taken: by an end, or by the batch that took its place
	first  [1]trackedRange // room for the usual case, so that a batch is one allocation
}

func newBatch[T any](events []T, at time.Time, t tracker) *Batch[T] {
	b := &Batch[T]{Events: events, At: at, count: len(events)}
	b.first[0] = trackedRange{tracker: t, hi: len(events)}
	b.ranges = b.first[:]
	return b
}

// Finish ends all events of the batch as done. A flow that is not ours calls it
// for a batch that it does not pass on. Only the first Finish or Fail counts.
func (b *Batch[T]) Finish() { b.Fail(nil) }

// Fail ends all events of the batch as failed.
func (b *Batch[T]) Fail(err error) {
	if ranges, ok := b.take(); ok {
		acknowledgeAll(ranges, err)
	}
}

// acknowledge ends all events: those in failed, which is sorted, with their error.
func (b *Batch[T]) acknowledge(failed []failedAt) {
	if ranges, ok := b.take(); ok {
		acknowledge(ranges, failed)
	}
}

// take hands out the ranges, once: a batch that a flow sent to two places is
// accounted for by whoever ends it first.
func (b *Batch[T]) take() ([]trackedRange, bool) {
	if b.ended.Swap(true) {
		return nil, false
	}
	return b.ranges, true
}

// Replace returns a batch of other events that stands for the same tracked ones:
// what a flow that is not ours sends on when it turns T into U. With no events
// it ends b and returns nil.
func Replace[T, U any](b *Batch[T], events []U) *Batch[U] {
	ranges, ok := b.take()
	if !ok {
		return nil
	}
	if len(events) == 0 {
		acknowledgeAll(ranges, nil)
		return nil
	}
	d := &derived{parents: ranges}
	d.left.Store(int64(len(events)))
	out := newBatch(events, b.At, d)
	out.sent = b.sent
	return out
}

// withRanges is a batch whose events correspond one to one to ranges.
func withRanges[T any](events []T, at time.Time, ranges []trackedRange) *Batch[T] {
	return &Batch[T]{Events: events, At: at, ranges: ranges, count: len(events)}
}

// cut splits off the first n events. b keeps its identity in neither part.
func (b *Batch[T]) cut(n int) (head, tail *Batch[T]) {
	c := cursor{ranges: b.ranges}
	head = withRanges(b.Events[:n:n], b.At, c.move(n, nil))
	tail = withRanges(b.Events[n:], b.At, c.move(len(b.Events)-n, nil))
	head.sent, tail.sent = b.sent, b.sent
	return head, tail
}

// positions of the event at index i, or of all events for a negative one.
func (b *Batch[T]) positions(i int) []int64 {
	var found []int64
	ranges := b.ranges
	if i >= 0 {
		c := cursor{ranges: ranges}
		c.move(i, nil)
		ranges = c.move(1, nil)
	}
	for _, r := range ranges {
		found = r.tracker.positions(r.lo, r.hi, found)
	}
	return found
}

// unknown is any batch, to whoever cannot know its type.
type unknown interface{ Fail(error) }

// abort fails an element that is a batch.
func abort(element any, err error) {
	if b, ok := element.(unknown); ok {
		b.Fail(err)
	}
}

// received is the batch in a streams element. A flow of others may have changed
// the length of Events: then they stand for all that the batch stood for.
// Nil means there is nothing left to handle.
func received[T any](t *Topology, stage string, element any) *Batch[T] {
	b, ok := element.(*Batch[T])
	if !ok {
		err := &ElementError{Stage: stage, Element: element}
		if other, is := element.(unknown); is {
			other.Fail(err)
		}
		t.failed(Failure{Stage: stage, Err: err})
		return nil
	}
	if len(b.Events) != b.count {
		return Replace(b, b.Events)
	}
	if b.count == 0 {
		return nil
	}
	return b
}
