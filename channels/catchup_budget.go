package channels

import (
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/ring"
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

// budget is how much replays under way may take, and who waits for some of it. It is
// exceeded by no more than a page for each worker.
type budget struct {
	replays *outbound.ReplayBudget // immutable

	// Guarded by the replayer's mu.
	parked  ring.Ring[*Actor] // those that wait, for a page each
	waiting atomic.Int32      // how many these are; read without the lock
	timer   *time.Timer       // set while somebody waits
}

// admit tells whether a channel may read a page now. If not, it is served again
// later.
func (r *Replayer) admit(a *Actor) bool {
	b := &r.budget
	if !b.replays.Spent() {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.parked.Push(a)
	b.waiting.Add(1) // who gives something back from now on sees it
	if b.timer == nil {
		b.timer = time.AfterFunc(replayPatience, r.writeOff)
	}
	if !b.replays.Spent() {
		r.unpark()
	}
	return false
}

// unpark has as many channels served as there is room for. Called with mu held.
func (r *Replayer) unpark() {
	b := &r.budget
	for n := 1 + b.replays.Room()/pageBytes; n > 0 && b.parked.Len() > 0; n-- {
		r.queue = append(r.queue, errand{actor: b.parked.Pop()})
		b.waiting.Add(-1)
		r.ready.Signal()
	}
	if b.parked.Len() == 0 && b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
}

// goOn has others served that wait, if there is room.
func (r *Replayer) goOn() {
	if r.budget.waiting.Load() == 0 || r.budget.replays.Spent() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unpark()
}

// writeOff is called when somebody has waited for long.
func (r *Replayer) writeOff() {
	b := &r.budget
	b.replays.WriteOff(replayPatience, replayDeadline)
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
