package pipeline

import "sync"

// mailbox is what others have to say to the one goroutine that owns it. Posting
// never blocks; what is posted is bounded by its kinds: an ask is posted once for
// each batch that ended, and a push waits until it was taken.
type mailbox[M any] struct {
	// wake has room for one signal: sent by post, received by the owner, never closed.
	wake chan struct{}

	mu     sync.Mutex
	letter []M
	spare  []M // the slice taken before, for reuse
	closed bool
}

func newMailbox[M any]() *mailbox[M] {
	return &mailbox[M]{wake: make(chan struct{}, 1)}
}

// post leaves a message, unless the owner has left.
func (b *mailbox[M]) post(m M) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.letter = append(b.letter, m)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all messages, in order, valid until the next take.
func (b *mailbox[M]) take() []M {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.letter
	clear(b.spare)
	b.letter, b.spare = b.spare[:0], taken
	return taken
}

// close takes the last messages; later posts are refused.
func (b *mailbox[M]) close() []M {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.letter
}
