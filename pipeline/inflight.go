package pipeline

import "math/bits"

// inflight counts the ends of one delivery's events.
type inflight[T any] struct {
	// Immutable after deliver.
	sub    *subscription[T]
	events []T
	parent *derived

	// Guarded by sub.mu.
	left       int // events not ended
	lost       bool
	low        int // all before have ended
	done       []uint64
	prev, next *inflight[T]
}

func (f *inflight[T]) end(lo, hi int, err error, acks *ackBatch) {
	f.abandon(lo, hi, err)
	f.sub.mu.Lock()
	if f.lost { // its line has ended, and said so of these events
		f.sub.mu.Unlock()
		return
	}
	f.finish(lo, hi, err, acks)
}

func (f *inflight[T]) abandon(lo, hi int, err error) {
	if a := f.sub.producer.ack; a != nil && err != nil {
		a.abandon(f.events[lo:hi], err)
	}
}

// finish is called with sub.mu held, and releases it.
func (f *inflight[T]) finish(lo, hi int, err error, acks *ackBatch) {
	s := f.sub
	f.mark(lo, hi)
	if f.left == 0 {
		s.unlink(f)
	}
	s.flying -= hi - lo
	if !s.options.Manual {
		s.owed += hi - lo
	}
	n := s.grant()
	stuck := n == 0 && s.open == 0 && s.flying > 0 && !s.closed
	s.mu.Unlock()

	f.parent.fail(err)
	f.parent.add(lo-hi, acks)
	if a := s.producer.ack; a != nil {
		a.note(acks, s.producer.name, f.events[lo:hi:hi], err)
	}
	s.send(n)
	if stuck {
		s.run.starve()
	}
}

// mark notes the end of lo..hi-1. Lines end events in order as a rule: a bitmap
// is only made when one does not.
func (f *inflight[T]) mark(lo, hi int) {
	f.left -= hi - lo
	if f.done == nil {
		if lo == f.low {
			f.low = hi
			return
		}
		f.done = make([]uint64, (len(f.events)+63)/64)
	}
	for i := lo; i < hi; i++ {
		f.done[i/64] |= 1 << (i % 64)
	}
	for f.low < len(f.events) {
		run := bits.TrailingZeros64(^(f.done[f.low/64] >> (f.low % 64)))
		if run == 0 {
			return
		}
		f.low += run
	}
}

func (f *inflight[T]) ended(i int) bool {
	return i < f.low || f.done != nil && f.done[i/64]&(1<<(i%64)) != 0
}

// lose fails all that has not ended.
func (f *inflight[T]) lose() {
	var open []int
	f.sub.mu.Lock()
	f.lost = true
	for i := range f.events {
		if !f.ended(i) {
			open = append(open, i)
		}
	}
	f.sub.mu.Unlock()
	positions := make([]int64, 0, len(open))
	var acks ackBatch
	for _, i := range open {
		positions = f.positions(i, i+1, positions)
		f.abandon(i, i+1, ErrLost)
		f.sub.mu.Lock()
		f.finish(i, i+1, ErrLost, &acks)
	}
	acks.tell()
	f.sub.producer.topology.failed(Failure{
		Stage: f.sub.producer.name, Positions: positions, Events: len(open), Attempts: 1, Err: ErrLost,
	})
}

func (f *inflight[T]) positions(lo, hi int, into []int64) []int64 {
	if a := f.sub.producer.ack; a != nil && a.config.Position != nil {
		return a.positions(f.events[lo:hi], into)
	}
	if f.parent != nil {
		return f.parent.positions(0, 0, into)
	}
	return into
}

func (s *subscription[T]) append(f *inflight[T]) {
	if f.prev = s.tail; f.prev == nil {
		s.head = f
	} else {
		f.prev.next = f
	}
	s.tail = f
}

func (s *subscription[T]) unlink(f *inflight[T]) {
	if f.prev == nil {
		s.head = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		s.tail = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
}
