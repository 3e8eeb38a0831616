package pipeline

import "sync"

// inbox is what others have to say to the one goroutine that owns it. Posting
// never blocks; what is posted is bounded by its kinds: an ask is posted once for
// each batch that ended, and a push waits until it was taken.
type inbox[M any] struct {
	// wake has room for one signal: sent by post, received by the owner, never closed.
	wake chan struct{}

	mu     sync.Mutex
	posted []M
	spare  []M // the slice taken before, for reuse
	closed bool
}

func newInbox[M any]() *inbox[M] {
	return &inbox[M]{wake: make(chan struct{}, 1)}
}

// post leaves a message, unless the owner has left.
func (b *inbox[M]) post(m M) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.posted = append(b.posted, m)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all messages, in order, valid until the next take.
func (b *inbox[M]) take() []M {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.posted
	clear(b.spare)
	b.posted, b.spare = b.spare[:0], taken
	return taken
}

// close takes the last messages; later posts are refused.
func (b *inbox[M]) close() []M {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.posted
}
