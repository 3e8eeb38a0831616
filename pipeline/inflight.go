package pipeline

import "math/bits"

// dealt counts the ends of one delivery's events.
type dealt[T any] struct {
	// Immutable after deal.
	sub    *subscription[T]
	events []T
	parent *fold

	// Guarded by sub.mu.
	left       int // events not ended
	lost       bool
	low        int // all before have ended
	done       []uint64
	prev, next *dealt[T]
}

func (d *dealt[T]) end(lo, hi int, err error, t *tally) {
	d.abandon(lo, hi, err)
	d.sub.mu.Lock()
	if d.lost { // its line has ended, and said so of these events
		d.sub.mu.Unlock()
		return
	}
	d.finish(lo, hi, err, t)
}

func (d *dealt[T]) abandon(lo, hi int, err error) {
	if a := d.sub.producer.ack; a != nil && err != nil {
		a.abandon(d.events[lo:hi], err)
	}
}

// finish is called with sub.mu held, and releases it.
func (d *dealt[T]) finish(lo, hi int, err error, t *tally) {
	s := d.sub
	d.mark(lo, hi)
	if d.left == 0 {
		s.unlink(d)
	}
	s.flying -= hi - lo
	if !s.options.Manual {
		s.owed += hi - lo
	}
	n := s.grant()
	stuck := n == 0 && s.open == 0 && s.flying > 0 && !s.closed
	s.mu.Unlock()

	d.parent.fail(err)
	d.parent.add(lo-hi, t)
	if a := s.producer.ack; a != nil {
		a.note(t, s.producer.name, d.events[lo:hi:hi], err)
	}
	s.send(n)
	if stuck {
		s.run.starve()
	}
}

// mark notes the end of lo..hi-1. Lines end events in order as a rule: a bitmap
// is only made when one does not.
func (d *dealt[T]) mark(lo, hi int) {
	d.left -= hi - lo
	if d.done == nil {
		if lo == d.low {
			d.low = hi
			return
		}
		d.done = make([]uint64, (len(d.events)+63)/64)
	}
	for i := lo; i < hi; i++ {
		d.done[i/64] |= 1 << (i % 64)
	}
	for d.low < len(d.events) {
		run := bits.TrailingZeros64(^(d.done[d.low/64] >> (d.low % 64)))
		if run == 0 {
			return
		}
		d.low += run
	}
}

func (d *dealt[T]) ended(i int) bool {
	return i < d.low || d.done != nil && d.done[i/64]&(1<<(i%64)) != 0
}

// lose fails all that has not ended.
func (d *dealt[T]) lose() {
	var open []int
	d.sub.mu.Lock()
	d.lost = true
	for i := range d.events {
		if !d.ended(i) {
			open = append(open, i)
		}
	}
	d.sub.mu.Unlock()
	positions := make([]int64, 0, len(open))
	var t tally
	for _, i := range open {
		positions = d.positions(i, i+1, positions)
		d.abandon(i, i+1, ErrLost)
		d.sub.mu.Lock()
		d.finish(i, i+1, ErrLost, &t)
	}
	t.tell()
	d.sub.producer.topology.failed(Failure{
		Stage: d.sub.producer.name, Positions: positions, Events: len(open), Attempts: 1, Err: ErrLost,
	})
}

func (d *dealt[T]) positions(lo, hi int, into []int64) []int64 {
	if a := d.sub.producer.ack; a != nil && a.config.Position != nil {
		return a.positions(d.events[lo:hi], into)
	}
	if d.parent != nil {
		return d.parent.positions(0, 0, into)
	}
	return into
}

func (s *subscription[T]) append(d *dealt[T]) {
	if d.prev = s.tail; d.prev == nil {
		s.head = d
	} else {
		d.prev.next = d
	}
	s.tail = d
}

func (s *subscription[T]) unlink(d *dealt[T]) {
	if d.prev == nil {
		s.head = d.next
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		s.tail = d.prev
	} else {
		d.next.prev = d.prev
	}
	d.prev, d.next = nil, nil
}
