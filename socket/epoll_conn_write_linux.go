package socket

import (
	"syscall"

	"github.com/sluicehq/sluice/channels"
)

// A writer's turn, as the connection sees it: it may be ended, or become writable
// again, at the same time.

// beginWriting keeps the descriptor open until endWriting. It returns false if
// the connection has ended.
func (w *epollWire) beginWriting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.writing, w.writable = true, false
	return true
}

// endWriting tells whether there is to be another turn.
func (w *epollWire) endWriting(o outcome, u *unsent) (again bool) {
	w.mu.Lock()
	w.writing = false
	if w.closed {
		_ = syscall.Close(w.fd)
		w.mu.Unlock()
		w.lost(&u.batch)
		w.unsent = nil
		return false
	}
	attend := false
	switch {
	case o == written && u.batch.Last:
		w.told, attend = true, true
		w.deadline = ticks() + int64(closeTimeout)
	case o == written:
		w.deadline = 0
		again = true
	case o == failed:
	case o == full && w.deadline == 0, w.deadline > 0 && u.since >= writeBytes:
		attend = w.deadline == 0
		w.deadline = ticks() + int64(w.allowed())
		u.since = 0
	}
	w.blocked = o == full && !w.writable
	again = again || o == begun || o == full && w.writable
	w.mu.Unlock()
	switch {
	case o == failed:
		w.cut(closedLost, channels.DropClosed)
		w.lost(&u.batch)
	case attend:
		w.epoll.post(w)
	}
	return again
}

// leaveUnsent counts what was being written when reading ended as lost, if nobody is
// going to come back to it: it waits for the client to read. Called with mu held,
// when no turn is under way.
func (w *epollWire) leaveUnsent() (left *unsent) {
	if w.blocked {
		left, w.unsent, w.blocked = w.unsent, nil, false
	}
	return left
}

// unblock gives the connection another turn, if it waits to be writable.
func (w *epollWire) unblock() {
	w.mu.Lock()
	blocked := w.blocked
	w.blocked, w.writable = false, true
	w.mu.Unlock()
	if blocked {
		w.epoll.writers.push(w)
	}
}
