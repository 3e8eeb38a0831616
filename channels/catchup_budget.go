package channels

import (
	"sync/atomic"
	"time"
)

// Replays under way are bounded in bytes together: a page that was read from the
// history is charged from when it is queued for a client until that has taken it,
// to each client that it is queued for. Once that is too much, channels that need
// another page wait in line, whatever the store can do. What comes from the hub's
// memory is in memory anyway, and does not count.
//
// A client that does not take what it was given holds nobody else up for long: if
// others wait, what it has not touched for replayPatience is written off, and so is
// what it still has after replayDeadline, as it may take little of it at a time, or
// as much that is live comes as it takes. It counts
// as the connection's own from then on, within its ConnectionConfig.Bytes, and it is
// given no more before it has taken that.

// replayPatience is how long a client may leave what was replayed to it where it is
// while others wait.
const replayPatience = time.Second

// replayDeadline is how long a client may take for a page while others wait.
const replayDeadline = 4 * replayPatience

// leastReplays is what replays under way may take at least, however little is to be
// remembered.
const leastReplays = 4 << 20

// budget is how much replays under way may take. It is exceeded by no more than a
// page for each worker.
type budget struct {
	limit int64        // set before Run
	used  atomic.Int64 // changed with the lock of the connection held that it is charged to

	// Guarded by the replayer's mu.
	holders map[*Connection]struct{} // connections that are charged something
	parked  ring[*Actor]             // those that wait, for a page each
	waiting atomic.Int32             // how many these are; read without the lock
	timer   *time.Timer              // set while somebody waits
}

func (b *budget) spent() bool {
	used := b.used.Load()
	return used > 0 && used >= b.limit
}

// admit tells whether a channel may read a page now. If not, it is served again
// later.
func (r *Replayer) admit(a *Actor) bool {
	b := &r.budget
	if !b.spent() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.parked.push(a)
	b.waiting.Add(1) // who gives something back from now on sees it
	if b.timer == nil {
		b.timer = time.AfterFunc(replayPatience, r.writeOff)
	}
	if !b.spent() {
		r.unpark()
	}
	return false
}

// unpark has as many channels served as there is room for. Called with mu held.
func (r *Replayer) unpark() {
	b := &r.budget
	for n := 1 + (b.limit-b.used.Load())/pageBytes; n > 0 && b.parked.len() > 0; n-- {
		r.queue = append(r.queue, b.parked.pop())
		b.waiting.Add(-1)
		r.ready.Signal()
	}
	if b.parked.len() == 0 && b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// goOn has others served that wait, if there is room.
func (r *Replayer) goOn() {
	if r.budget.waiting.Load() == 0 || r.budget.spent() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unpark()
}

// writeOff is called when somebody has waited for long.
func (r *Replayer) writeOff() {
	b := &r.budget
	r.mu.Lock()
	connections := make([]*Connection, 0, len(b.holders))
	for c := range b.holders {
		connections = append(connections, c)
	}
	r.mu.Unlock()
	now := momentOf(time.Now())
	for _, c := range connections {
		c.mu.Lock()
		if now-c.touched >= moment(replayPatience) || now-c.lent >= moment(replayDeadline) {
			c.giveBack(c.replayed)
		}
		c.mu.Unlock()
	}
	r.goOn()
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.timer != nil {
		b.timer.Reset(replayPatience)
	}
	if r.over && b.timer != nil {
		b.timer.Stop()
	}
}

// borrow charges what a page has added to what the connection holds. Called with mu
// held.
func (c *Connection) borrow(bytes int) {
	r := c.hub.replayer.Load()
	if bytes <= 0 || r == nil {
		return
	}
	c.touched = momentOf(time.Now())
	c.lent = c.touched
	if c.replayed == 0 {
		r.mu.Lock()
		r.budget.holders[c] = struct{}{}
		r.mu.Unlock()
	}
	c.replayed += bytes
	r.budget.used.Add(int64(bytes))
}

// giveBack takes back what was charged. Called with mu held.
func (c *Connection) giveBack(bytes int) {
	r := c.hub.replayer.Load()
	if bytes <= 0 || r == nil {
		return
	}
	c.touched = momentOf(time.Now())
	c.replayed -= bytes
	r.budget.used.Add(-int64(bytes))
	if c.replayed == 0 {
		r.mu.Lock()
		delete(r.budget.holders, c)
		r.mu.Unlock()
	}
	r.goOn()
}

// settle takes back what the connection does not hold any more. Called with mu held.
func (c *Connection) settle() {
	if has := c.held + c.seeing; c.replayed > has {
		c.giveBack(c.replayed - has)
	}
}
