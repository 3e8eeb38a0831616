package channels

import "sync/atomic"

// InboundBytes is what one connection may have inbound, over all its channels: what
// its client has sent and no handler is done with, and the joins under way, those
// among them that have been replaced. A nil one does not count.
type InboundBytes struct {
	limit int64
	held  atomic.Int64
}

// Limit sets how many bytes these may be, before anything is charged.
func (b *InboundBytes) Limit(bytes int) { b.limit = int64(bytes) }

// Held is how many they are.
func (b *InboundBytes) Held() int64 { return b.held.Load() }

// What a message and a join take beside what the client has sent: the entry in a
// queue, the goroutine that waits for the join to be handled.
const (
	messageCharge = 256
	joinCharge    = 4 << 10
)

// take charges bytes, unless that is too much. Where there is nothing, one message
// of any size goes in.
func (b *InboundBytes) take(bytes int) bool {
	if b == nil {
		return true
	}
	for {
		held := b.held.Load()
		if held > 0 && held+int64(bytes) > b.limit {
			return false
		}
		if b.held.CompareAndSwap(held, held+int64(bytes)) {
			return true
		}
	}
}

func (b *InboundBytes) give(bytes int) {
	if b != nil && bytes > 0 {
		b.held.Add(int64(-bytes))
	}
}
