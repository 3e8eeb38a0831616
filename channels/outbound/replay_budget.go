package outbound

import (
	"sync"
	"sync/atomic"
	"time"
)

// ReplayBudget bounds what replays under way hold, over all connections: what was
// read from the history is charged from when it is queued for a client until that
// has taken it, to the connection that it is queued for. All methods may be called
// concurrently.
type ReplayBudget struct {
	// Immutable after NewReplayBudget.
	limit int64
	freed func()

	used atomic.Int64 // bytes; changed with the lock of the connection held that they are charged to

	mu      sync.Mutex
	holders map[*Connection]struct{} // connections that are charged something; guarded by mu
}

// NewReplayBudget returns a budget of so many bytes. Freed is called when some have
// been given back. It is called with the lock of a connection held, and must not
// block.
func NewReplayBudget(limit int64, freed func()) *ReplayBudget {
	return &ReplayBudget{limit: limit, freed: freed, holders: make(map[*Connection]struct{})}
}

// Spent tells whether nothing more is to be read. Of a budget that nobody has taken
// from, something always may be.
func (b *ReplayBudget) Spent() bool {
	used := b.used.Load()
	return used > 0 && used >= b.limit
}

// Room is how many bytes are left, below zero if more are taken than there are.
func (b *ReplayBudget) Room() int64 { return b.limit - b.used.Load() }

// WriteOff takes back what clients have not touched for as long as patience, and what
// they still have of something that they were given before the deadline. It counts as
// the connections' own from then on.
func (b *ReplayBudget) WriteOff(patience, deadline time.Duration) {
	b.mu.Lock()
	holders := make([]*Connection, 0, len(b.holders))
	for c := range b.holders {
		holders = append(holders, c)
	}
	b.mu.Unlock()
	now := momentOf(time.Now())
	for _, c := range holders {
		c.mu.Lock()
		if now-c.touched >= moment(patience) || now-c.lent >= moment(deadline) {
			c.giveBack(c.replayed)
		}
		c.mu.Unlock()
	}
}

// take charges a connection that holds nothing yet, or more of what it holds.
func (b *ReplayBudget) take(c *Connection, bytes int) {
	if c.replayed == 0 {
		b.mu.Lock()
		b.holders[c] = struct{}{}
		b.mu.Unlock()
	}
	c.replayed += bytes
	b.used.Add(int64(bytes))
}

// give takes back what a connection was charged.
func (b *ReplayBudget) give(c *Connection, bytes int) {
	c.replayed -= bytes
	b.used.Add(-int64(bytes))
	if c.replayed == 0 {
		b.mu.Lock()
		delete(b.holders, c)
		b.mu.Unlock()
	}
	b.freed()
}

// borrow charges what a page has added to what the connection holds. Called with mu
// held.
func (c *Connection) borrow(bytes int) {
	b := c.source.Replays()
	if bytes <= 0 || b == nil {
		return
	}
	c.touched = momentOf(time.Now())
	c.lent = c.touched
	b.take(c, bytes)
}

// giveBack takes back what was charged. Called with mu held.
func (c *Connection) giveBack(bytes int) {
	b := c.source.Replays()
	if bytes <= 0 || b == nil {
		return
	}
	c.touched = momentOf(time.Now())
	b.give(c, bytes)
}

// settle takes back what the connection does not hold any more. Called with mu held.
func (c *Connection) settle() { c.giveBack(c.replayed - c.held - c.seeing) }

// settleTaken is settle once the writer has taken something: what it could not take,
// since that is being collected, has come live, and is no part of a replay. Called with
// mu held.
func (c *Connection) settleTaken() {
	collected := 0
	for _, m := range c.collecting {
		collected += m.collected()
	}
	c.giveBack(c.replayed - max(0, c.held-collected) - c.seeing)
}
