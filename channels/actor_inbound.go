package channels

import "sync/atomic"

// InboundBytes is what one connection has inbound, over all its channels: what its
// client has sent and no handler is done with, and the joins under way, those among
// them that have been replaced. Whoever reads from the client waits while it is full,
// so that it goes over its limit by one message at most. A nil one does not count.
type InboundBytes struct {
	limit int64
	held  atomic.Int64
}

// Limit sets how many bytes these may be, before anything is charged.
func (b *InboundBytes) Limit(bytes int) { b.limit = int64(bytes) }

// Held is how many they are.
func (b *InboundBytes) Held() int64 { return b.held.Load() }

// Full tells whether nothing more is to be read from the client for now.
func (b *InboundBytes) Full() bool { return b.held.Load() >= b.limit }

// What a message and a join take beside what the client has sent: the entry in a
// queue, the goroutine that waits for the join to be handled.
const (
	messageCharge = 256
	joinCharge    = 4 << 10
)

// take charges bytes.
func (b *InboundBytes) take(bytes int) {
	if b != nil {
		b.held.Add(int64(bytes))
	}
}

func (b *InboundBytes) give(bytes int) { b.take(-bytes) }
