// Package wake keeps what a process knows of the log's head, and wakes those
// who wait for it to move.
//
// # Guarantees
//
// A head that has advanced past what a waiter has seen is never missed: Wait
// looks before it waits. What is known is a hint only, and may be taken back.
package wake

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Head is the newest offset known. The zero value knows of none. Its methods
// may be called concurrently.
type Head struct {
	offset atomic.Int64 // written under mu

	// Guarded by mu.
	mu       sync.Mutex
	advanced chan struct{} // closed by Advance, which makes no new one: Wait does; nil while nobody waits
}

// Offset returns the newest offset known.
func (h *Head) Offset() int64 { return h.offset.Load() }

// Advance makes offset known, unless a newer one is, and wakes all waiters.
func (h *Head) Advance(offset int64) {
	if offset <= h.offset.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if offset <= h.offset.Load() {
		return
	}
	h.offset.Store(offset)
	if h.advanced != nil {
		close(h.advanced)
		h.advanced = nil
	}
}

// Disprove takes back what was known beyond offset: a reader has found
// nothing there. A restored backup does that, and every Wait would return at
// once for ever. Known is what Offset said before the reader looked.
func (h *Head) Disprove(known, offset int64) {
	if known <= offset {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.offset.CompareAndSwap(known, offset)
}

// Wait returns nil when an offset beyond after is known, or after atMost.
// It returns ctx's error when ctx ends first.
func (h *Head) Wait(ctx context.Context, after int64, atMost time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	advanced := h.watch(after)
	if advanced == nil {
		return nil
	}
	net := time.NewTimer(atMost)
	defer net.Stop()
	select {
	case <-advanced:
		return nil
	case <-net.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Waited tells whether somebody has waited for the head to advance since it last
// did.
func (h *Head) Waited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.advanced != nil
}

// watch returns a chan that is closed when the head advances, or nil if it is
// beyond after already.
func (h *Head) watch(after int64) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.offset.Load() > after {
		return nil
	}
	if h.advanced == nil {
		h.advanced = make(chan struct{})
	}
	return h.advanced
}
