package stages

import (
	"context"
	"sync"

	"github.com/sluicehq/sluice/store"
)

// prefetch reads the page behind the one that is being fetched, so that a log that
// is far away, or busy, is waited for once and not page by page. It stays within
// the demand: it only begins what has been asked for already. And it only begins
// where the log was seen to hold more than was asked for, so that a log that is
// read as fast as it is written is not read twice.
//
// What it brings is a guess, namely that the page before is full. Whoever takes
// it checks that, and reads again if it was wrong: an error, an end of the log
// or a gap is never reported from here.
type prefetch struct {
	read func(ctx context.Context, after int64) ([]store.Event, error) // a page
	size int                                                           // events in a full page

	reads sync.WaitGroup // what was begun; waited for at the end

	// Guarded by mu.
	mu      sync.Mutex
	ctx     context.Context // of the fetch at work; nil while there is none
	fetches int             // events that it is to bring at most
	behind  int64           // offset of the last of them
	full    bool            // the page before was full
	page    *page           // prefetched and not taken; nil if none is
}

// page is a read that was begun before it was asked for.
type page struct {
	after  int64
	done   chan struct{} // closed by the reading goroutine when events is set
	events []store.Event // none after an error
}

// begin tells of a fetch at work after an offset. It returns the page for it, if
// one was prefetched.
func (p *prefetch) begin(ctx context.Context, after int64, demand int) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.page
	if p.page = nil; taken != nil && taken.after != after {
		taken = nil // the page before was cut short
	}
	p.ctx, p.fetches = ctx, min(demand, p.size)
	if taken != nil {
		p.fetches = p.size
	}
	p.behind = after + int64(p.fetches)
	p.extend(demand)
	return taken
}

// wanted tells, while a fetch is at work, how many events are wanted in all.
func (p *prefetch) wanted(demand int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.extend(demand)
}

// end tells what the fetch has brought.
func (p *prefetch) end(brought int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx, p.full = nil, brought == p.fetches
}

// extend begins to read the next page if all of it is wanted. It is called with
// mu held.
func (p *prefetch) extend(demand int) {
	if p.ctx == nil || !p.full || p.page != nil || demand < p.fetches+p.size {
		return
	}
	ctx, next := p.ctx, &page{after: p.behind, done: make(chan struct{})}
	p.page = next
	p.reads.Go(func() {
		defer close(next.done)
		if events, err := p.read(ctx, next.after); err == nil {
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
