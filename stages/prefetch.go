package stages

import (
	"context"
	"sync"

	"github.com/sluicehq/sluice/store"
)

// ahead reads the page behind the one that is being fetched, so that a log that
// is far away, or busy, is waited for once and not page by page. It stays within
// the demand: it only begins what has been asked for already. And it only begins
// where the log was seen to hold more than was asked for, so that a log that is
// read as fast as it is written is not read twice.
//
// What it brings is a guess, namely that the page before is full. Whoever takes
// it checks that, and reads again if it was wrong: an error, an end of the log
// or a gap is never reported from here.
type ahead struct {
	read func(ctx context.Context, after int64) ([]store.Event, error) // a page
	size int                                                           // events in a full page

	reads sync.WaitGroup // what was begun; waited for at the end

	// Guarded by mu.
	mu      sync.Mutex
	ctx     context.Context // of the fetch at work; nil while there is none
	fetches int             // events that it is to bring at most
	behind  int64           // offset of the last of them
	full    bool            // the page before was full
	page    *page           // read ahead and not taken; nil if none is
}

// page is a read that was begun ahead.
type page struct {
	after  int64
	done   chan struct{} // closed by the reading goroutine when events is set
	events []store.Event // none after an error
}

// begin tells of a fetch at work after an offset. It returns the page for it, if
// one was read ahead.
func (a *ahead) begin(ctx context.Context, after int64, demand int) *page {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.page
	if a.page = nil; taken != nil && taken.after != after {
		taken = nil // the page before was cut short
	}
	a.ctx, a.fetches = ctx, min(demand, a.size)
	if taken != nil {
		a.fetches = a.size
	}
	a.behind = after + int64(a.fetches)
	a.extend(demand)
	return taken
}

// wanted tells, while a fetch is at work, how many events are wanted in all.
func (a *ahead) wanted(demand int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.extend(demand)
}

// end tells what the fetch has brought.
func (a *ahead) end(brought int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ctx, a.full = nil, brought == a.fetches
}

// extend begins to read the next page if all of it is wanted. It is called with
// mu held.
func (a *ahead) extend(demand int) {
	if a.ctx == nil || !a.full || a.page != nil || demand < a.fetches+a.size {
		return
	}
	ctx, next := a.ctx, &page{after: a.behind, done: make(chan struct{})}
	a.page = next
	a.reads.Go(func() {
		defer close(next.done)
		if events, err := a.read(ctx, next.after); err == nil {
			next.events = events
		}
	})
}

// take waits for the page's events: none if it has to be read again.
func (p *page) take() []store.Event {
	if p == nil {
		return nil
	}
	<-p.done // the context of the fetch, which is the read's, ends it in time
	return p.events
}
