package pipeline

import (
	"errors"
	"sync/atomic"
)

// tracker is a numbered set of events whose ends are counted: those of one delivery
// to a line (inflight), or those that a stage made of others (derived).
type tracker interface {
	// end marks lo..hi-1 as ended; err is nil for those that are done. What the
	// acknowledgers are to be told is collected in acks.
	end(lo, hi int, err error, acks *ackBatch)
	// positions appends those of the events at the origin of lo..hi-1.
	positions(lo, hi int, into []int64) []int64
}

// trackedRange is a run of one tracker's events, as carried by a batch.
type trackedRange struct {
	tracker tracker
	lo, hi  int
}

// failedAt is an event that failed, by its index in the batch.
type failedAt struct {
	index int
	err   error
}

// acknowledge ends the events of ranges, those named in failed with their error.
func acknowledge(ranges []trackedRange, failed []failedAt) {
	var acks ackBatch
	at := 0
	for _, r := range ranges {
		lo := r.lo
		for len(failed) > 0 && failed[0].index < at+r.hi-r.lo {
			i := r.lo + failed[0].index - at
			if lo < i {
				r.tracker.end(lo, i, nil, &acks)
			}
			r.tracker.end(i, i+1, failed[0].err, &acks)
			lo, failed = i+1, failed[1:]
		}
		if lo < r.hi {
			r.tracker.end(lo, r.hi, nil, &acks)
		}
		at += r.hi - r.lo
	}
	acks.tell()
}

// acknowledgeAll ends the events of ranges for whoever is at hand, which may be a goroutine that
// is not ours: what hooks do must not end it.
func acknowledgeAll(ranges []trackedRange, err error) {
	_ = apart(func() error { endAll(ranges, err); return nil }) // what hooks do is told where they are called
}

func endAll(ranges []trackedRange, err error) {
	var acks ackBatch
	for _, r := range ranges {
		r.tracker.end(r.lo, r.hi, err, &acks)
	}
	acks.tell()
}

// cursor walks the ranges of a batch in the order of its events.
type cursor struct {
	ranges []trackedRange
	off    int // events of ranges[0] that were moved
}

// move appends the ranges of the next n events to dst.
func (c *cursor) move(n int, dst []trackedRange) []trackedRange {
	for n > 0 {
		r := c.ranges[0]
		lo := r.lo + c.off
		take := min(n, r.hi-lo)
		if last := len(dst) - 1; last >= 0 && dst[last].tracker == r.tracker && dst[last].hi == lo {
			dst[last].hi += take
		} else {
			dst = append(dst, trackedRange{r.tracker, lo, lo + take})
		}
		if c.off += take; lo+take == r.hi {
			c.ranges, c.off = c.ranges[1:], 0
		}
		n -= take
	}
	return dst
}

// derived counts the ends of events that a stage made of others. Which came of which
// is not known, so their origins end together, when the last of them has: as failed
// if any failed.
type derived struct {
	parents []trackedRange
	left    atomic.Int64
	err     atomic.Pointer[error]
}

func (d *derived) end(lo, hi int, err error, acks *ackBatch) {
	d.fail(err)
	d.add(lo-hi, acks)
}

// fail notes that one of them failed. A discarded one was meant to end there. That one was
// given up undone counts for more than that others failed.
func (d *derived) fail(err error) {
	if d == nil || err == nil || errors.Is(err, ErrDiscarded) {
		return
	}
	for {
		first := d.err.Load()
		if first != nil && (abandoned(*first) || !abandoned(err)) || d.err.CompareAndSwap(first, &err) {
			return
		}
	}
}

// add changes how many ends are awaited: a broadcast owes each event to many.
func (d *derived) add(n int, acks *ackBatch) {
	if d == nil || n == 0 || d.left.Add(int64(n)) != 0 {
		return
	}
	var err error
	if failed := d.err.Load(); failed != nil {
		err = *failed
	}
	for _, r := range d.parents {
		r.tracker.end(r.lo, r.hi, err, acks)
	}
}

func (d *derived) positions(_, _ int, into []int64) []int64 {
	for _, r := range d.parents {
		into = r.tracker.positions(r.lo, r.hi, into)
	}
	return into
}

// ackBatch collects what acknowledgers are to be told of one end, so that each is
// told once, successes and failures together.
type ackBatch struct{ list []interface{ tell() } }

// tell tells them all, even if what is told ends the goroutine: their events have ended
// already, and nobody would tell of them later.
func (b *ackBatch) tell() {
	if len(b.list) == 0 {
		return
	}
	next := b.list[0]
	b.list = b.list[1:]
	defer b.tell()
	next.tell()
}
