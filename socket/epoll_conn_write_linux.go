package socket

import (
	"syscall"

	"github.com/sluicehq/sluice/channels"
)

// A writer's turn, as the connection sees it: it may be ended, or become writable
// again, at the same time.

// beginWriting keeps the descriptor open until endWriting. It returns false if
// the connection has ended.
func (c *epollConn) beginWriting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.writing, c.writable = true, false
	return true
}

// endWriting tells whether there is to be another turn.
func (c *epollConn) endWriting(o outcome, u *unsent) (again bool) {
	c.mu.Lock()
	c.writing = false
	if c.closed {
		_ = syscall.Close(c.fd)
		c.mu.Unlock()
		c.lost(&u.batch)
		c.unsent = nil
		return false
	}
	notify := false
	switch {
	case o == written && u.batch.Last:
		c.closeSent, notify = true, true
		c.deadline = ticks() + int64(closeTimeout)
	case o == written:
		c.deadline = 0
		again = true
	case o == failed:
	case o == full && c.deadline == 0, c.deadline > 0 && u.since >= writeBytes:
		notify = c.deadline == 0
		c.deadline = ticks() + int64(c.allowed())
		u.since = 0
	}
	c.blocked = o == full && !c.writable
	again = again || o == begun || o == full && c.writable
	c.mu.Unlock()
	switch {
	case o == failed:
		c.cut(closedLost, channels.DropClosed)
		c.lost(&u.batch)
	case notify:
		c.loop.notify(c)
	}
	return again
}

// leaveUnsent counts what was being written when reading ended as lost, if nobody is
// going to come back to it: it waits for the client to read. Called with mu held,
// when no turn is under way.
func (c *epollConn) leaveUnsent() (left *unsent) {
	if c.blocked {
		left, c.unsent, c.blocked = c.unsent, nil, false
	}
	return left
}

// unblock gives the connection another turn, if it waits to be writable.
func (c *epollConn) unblock() {
	c.mu.Lock()
	blocked := c.blocked
	c.blocked, c.writable = false, true
	c.mu.Unlock()
	if blocked {
		c.loop.writers.push(c)
	}
}
