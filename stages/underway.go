package stages

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/store"
)

// underWay is what the line holds of the log, in bytes. Demand bounds it in
// events alone, and a thousand of a megabyte each are a gigabyte: so nothing more
// is read while the pages that have not been routed to their ends hold more than
// the limit. A page of any size is read when there is no other.
type underWay struct {
	// Immutable after the line is laid out.
	limit int                              // bytes; 0: no bound
	safe  func() (position int64, ok bool) // all up to it has been routed

	freed chan struct{} // sent to by whoever routes, without waiting; received from by wait; holds one

	// Owned by the caller of Fetch.
	pages []weight // oldest first; bounded by the demand, and by pruneAt
	bytes int
}

// weight is a page's last offset, and what its payloads hold.
type weight struct {
	through int64
	bytes   int
}

const (
	// pruneAt is how many pages are remembered before it is asked which of them
	// are routed.
	pruneAt = 64
	// lookAgain is how long to wait for a word that room was made: what the line
	// has got to may be known a little later than that it has got there.
	lookAgain = 5 * time.Millisecond
)

// add notes a page that was read.
func (u *underWay) add(events []store.Event) {
	if u.limit == 0 || len(events) == 0 {
		return
	}
	bytes := 0
	for i := range events {
		bytes += len(events[i].Payload)
	}
	if len(u.pages) >= pruneAt {
		u.prune()
	}
	u.pages = append(u.pages, weight{events[len(events)-1].Offset, bytes})
	u.bytes += bytes
}

// prune forgets what has been routed.
func (u *underWay) prune() {
	position, ok := u.safe()
	if !ok {
		return
	}
	n := 0
	for n < len(u.pages) && u.pages[n].through <= position {
		u.bytes -= u.pages[n].bytes
		n++
	}
	u.pages = u.pages[:copy(u.pages, u.pages[n:])]
}

// wait returns once there is room for another page.
func (u *underWay) wait(ctx context.Context) error {
	if u.limit == 0 || u.bytes <= u.limit {
		return nil
	}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for u.prune(); u.bytes > u.limit; u.prune() {
		select {
		case <-u.freed:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// routed tells that something has come to the line's end.
func (u *underWay) routed() {
	select {
	case u.freed <- struct{}{}:
	default: // it has been told already
	}
}
