package pipeline

import (
	"errors"
	"sync/atomic"
)

// lot is a numbered set of events whose ends are counted: those of one delivery
// to a line (dealt), or those that a stage made of others (fold).
type lot interface {
	// end marks lo..hi-1 as ended; err is nil for those that are done. What the
	// acknowledgers are to be told is collected in t.
	end(lo, hi int, err error, t *tally)
	// positions appends those of the events at the origin of lo..hi-1.
	positions(lo, hi int, into []int64) []int64
}

// share is a run of one lot's events, as carried by a batch.
type share struct {
	lot    lot
	lo, hi int
}

// failedAt is an event that failed, by its index in the batch.
type failedAt struct {
	index int
	err   error
}

// settle ends the events of shares, those named in failed with their error.
func settle(shares []share, failed []failedAt) {
	var t tally
	at := 0
	for _, s := range shares {
		lo := s.lo
		for len(failed) > 0 && failed[0].index < at+s.hi-s.lo {
			i := s.lo + failed[0].index - at
			if lo < i {
				s.lot.end(lo, i, nil, &t)
			}
			s.lot.end(i, i+1, failed[0].err, &t)
			lo, failed = i+1, failed[1:]
		}
		if lo < s.hi {
			s.lot.end(lo, s.hi, nil, &t)
		}
		at += s.hi - s.lo
	}
	t.tell()
}

func settleAll(shares []share, err error) {
	var t tally
	for _, s := range shares {
		s.lot.end(s.lo, s.hi, err, &t)
	}
	t.tell()
}

// cursor walks the receipts of a batch in the order of its events.
type cursor struct {
	shares []share
	off    int // events of shares[0] that were moved
}

// move appends the receipts of the next n events to dst.
func (c *cursor) move(n int, dst []share) []share {
	for n > 0 {
		s := c.shares[0]
		lo := s.lo + c.off
		take := min(n, s.hi-lo)
		if last := len(dst) - 1; last >= 0 && dst[last].lot == s.lot && dst[last].hi == lo {
			dst[last].hi += take
		} else {
			dst = append(dst, share{s.lot, lo, lo + take})
		}
		if c.off += take; lo+take == s.hi {
			c.shares, c.off = c.shares[1:], 0
		}
		n -= take
	}
	return dst
}

// fold counts the ends of events that a stage made of others. Which came of which
// is not known, so their origins end together, when the last of them has: as failed
// if any failed.
type fold struct {
	parents []share
	left    atomic.Int64
	err     atomic.Pointer[error]
}

func (f *fold) end(lo, hi int, err error, t *tally) {
	f.fail(err)
	f.add(lo-hi, t)
}

// fail notes that one of them failed. A discarded one was meant to end there. That one was
// given up undone counts for more than that others failed.
func (f *fold) fail(err error) {
	if f == nil || err == nil || errors.Is(err, ErrDiscarded) {
		return
	}
	for {
		first := f.err.Load()
		if first != nil && (abandoned(*first) || !abandoned(err)) || f.err.CompareAndSwap(first, &err) {
			return
		}
	}
}

// add changes how many ends are awaited: a broadcast owes each event to many.
func (f *fold) add(n int, t *tally) {
	if f == nil || n == 0 || f.left.Add(int64(n)) != 0 {
		return
	}
	var err error
	if failed := f.err.Load(); failed != nil {
		err = *failed
	}
	for _, s := range f.parents {
		s.lot.end(s.lo, s.hi, err, t)
	}
}

func (f *fold) positions(_, _ int, into []int64) []int64 {
	for _, s := range f.parents {
		into = s.lot.positions(s.lo, s.hi, into)
	}
	return into
}

// tally collects what acknowledgers are to be told of one end, so that each is
// told once, successes and failures together.
type tally struct{ acks []interface{ tell() } }

func (t *tally) tell() {
	for _, a := range t.acks {
		a.tell()
	}
}
