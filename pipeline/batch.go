package pipeline

import (
	"sync/atomic"
	"time"
)

// Batch is what travels through a line: events, and the receipts of the events
// they stand for. The element of every streams.Flow in a line is a *Batch[T].
//
// One goroutine owns a batch at a time; sending it on gives it away. Events may
// be shared with other lines of a broadcast: read them, never write to them.
type Batch[T any] struct {
	Events []T
	// At is when the oldest of the events left its producer's handler.
	At time.Time

	shares []share // in the order of Events, one numbered event for each
	count  int     // events that shares stand for
	sent   time.Time
	ended  atomic.Bool // its receipts were taken: by an end, or by the batch that took its place
	first  [1]share    // room for the usual case, so that a batch is one allocation
}

func newBatch[T any](events []T, at time.Time, l lot) *Batch[T] {
	b := &Batch[T]{Events: events, At: at, count: len(events)}
	b.first[0] = share{lot: l, hi: len(events)}
	b.shares = b.first[:]
	return b
}

// Finish ends all events of the batch as done. A flow that is not ours calls it
// for a batch that it does not pass on. Only the first Finish or Fail counts.
func (b *Batch[T]) Finish() { b.Fail(nil) }

// Fail ends all events of the batch as failed.
func (b *Batch[T]) Fail(err error) {
	if shares, ok := b.take(); ok {
		// Whoever calls it is not ours: what hooks do must not end its goroutine.
		_ = apart(func() error { settleAll(shares, err); return nil })
	}
}

// settle ends all events: those in failed, which is sorted, with their error.
func (b *Batch[T]) settle(failed []failedAt) {
	if shares, ok := b.take(); ok {
		settle(shares, failed)
	}
}

// take hands out the receipts, once: a batch that a flow sent to two places is
// accounted for by whoever ends it first.
func (b *Batch[T]) take() ([]share, bool) {
	if b.ended.Swap(true) {
		return nil, false
	}
	return b.shares, true
}

// Replace returns a batch of other events that stands for the same receipts:
// what a flow that is not ours sends on when it turns T into U. With no events
// it ends b and returns nil.
func Replace[T, U any](b *Batch[T], events []U) *Batch[U] {
	shares, ok := b.take()
	if !ok {
		return nil
	}
	if len(events) == 0 {
		settleAll(shares, nil)
		return nil
	}
	f := &fold{parents: shares}
	f.left.Store(int64(len(events)))
	out := newBatch(events, b.At, f)
	out.sent = b.sent
	return out
}

// withShares is a batch whose events correspond one to one to shares.
func withShares[T any](events []T, at time.Time, shares []share) *Batch[T] {
	return &Batch[T]{Events: events, At: at, shares: shares, count: len(events)}
}

// cut splits off the first n events. b keeps its identity in neither part.
func (b *Batch[T]) cut(n int) (head, tail *Batch[T]) {
	c := cursor{shares: b.shares}
	head = withShares(b.Events[:n:n], b.At, c.move(n, nil))
	tail = withShares(b.Events[n:], b.At, c.move(len(b.Events)-n, nil))
	head.sent, tail.sent = b.sent, b.sent
	return head, tail
}

// positions of the event at index i, or of all events for a negative one.
func (b *Batch[T]) positions(i int) []int64 {
	var found []int64
	shares := b.shares
	if i >= 0 {
		c := cursor{shares: shares}
		c.move(i, nil)
		shares = c.move(1, nil)
	}
	for _, s := range shares {
		found = s.lot.positions(s.lo, s.hi, found)
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
// the length of Events: then they stand for the batch's receipts as a whole.
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
