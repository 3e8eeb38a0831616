package socket

import (
	"syscall"

	"github.com/sluicehq/sluice/channels/outbound"
)

// outputState is where writing to a connection is. A writer takes it for a turn and
// gives it back; at the same time it may become writable, or be ended, which the
// loop's goroutine does. It is what keeps the descriptor open as long as a writer
// may use it:
//
//	            a turn    the turn ends with the outcome             it is       it is
//	            begins    written, begun  full      close   failed   writable    ended
//	                                                frame
//	idle        writing   –               –         –       –        –           closed
//	writing     –         idle            blocked   sent    idle     writable    closing
//	writable    –         idle            idle (1)  sent    idle     –           closing
//	blocked     –         –               –         –       –        idle (1)    closed (2)
//	sent        –         –               –         –       –        –           closed
//	closing     –         closed (2)      closed    closed  closed   –           –
//	closed      – (2)     –               –         –       –        –           –
//
// (1) And it is to have another turn. (2) What has not been written is lost.
type outputState uint8

const (
	outputIdle      outputState = iota // no writer is at it; it may wait for its turn
	outputWriting                      // a writer is at it
	outputWritable                     // likewise, and it has become writable since that began
	outputBlocked                      // what is left is written when it is writable again
	outputCloseSent                    // the close frame has been written, after which comes nothing
	outputClosing                      // the writer that is at it closes the descriptor
	outputClosed                       // the descriptor is closed
)

// beginWriting keeps the descriptor open until endWriting. It returns false if
// the connection has ended.
func (c *epollConn) beginWriting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.output == outputClosed {
		return false
	}
	c.output = outputWriting
	return true
}

// endWriting tells whether there is to be another turn.
func (c *epollConn) endWriting(o outcome, u *unsent) (again bool) {
	c.mu.Lock()
	if c.output == outputClosing {
		c.output = outputClosed
		_ = syscall.Close(c.fd)
		c.mu.Unlock()
		c.lost(&u.batch)
		c.unsent = nil
		return false
	}
	writable := c.output == outputWritable
	c.output = outputIdle
	newDeadline := false // that the loop does not know of
	switch o {
	case written:
		if u.batch.Last { // the client has some time to answer the close frame
			c.output = outputCloseSent
			c.deadline = ticks() + int64(c.endpoint.config.closeTimeout)
			newDeadline = true
		} else { // there may be more
			c.deadline = 0
			again = true
		}
	case begun: // a client that has been slow may have accepted a piece
		if c.deadline > 0 && u.since >= writeBytes {
			c.setDeadline(u)
		}
		again = true
	case full: // the client has to read, from now on within its time
		newDeadline = c.deadline == 0
		if newDeadline || u.since >= writeBytes {
			c.setDeadline(u)
		}
		if again = writable; !again {
			c.output = outputBlocked
		}
	case failed: // see below
	}
	c.mu.Unlock()
	if o == failed {
		c.cut(closedLost, outbound.DropClosed)
		c.lost(&u.batch)
	}
	if newDeadline {
		c.loop.notify(c)
	}
	return again
}

// setDeadline gives the client time for the next piece. Called with mu held.
func (c *epollConn) setDeadline(u *unsent) {
	c.deadline = ticks() + int64(c.allowed())
	u.since = 0
}

// closeOutput is the end of writing: the descriptor is closed once no writer is at
// it. What is left is what nobody comes back to, because it waits for the client to
// read; it is lost.
func (c *epollConn) closeOutput() (left *unsent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.output {
	case outputWriting, outputWritable:
		c.output = outputClosing
		return nil
	case outputBlocked:
		left, c.unsent = c.unsent, nil
	}
	c.output = outputClosed
	_ = syscall.Close(c.fd)
	return left
}

// unblock gives the connection another turn, if it waits to be writable.
func (c *epollConn) unblock() {
	c.mu.Lock()
	blocked := c.output == outputBlocked
	switch c.output {
	case outputBlocked:
		c.output = outputIdle
	case outputWriting:
		c.output = outputWritable
	}
	c.mu.Unlock()
	if blocked {
		c.loop.writers.push(c)
	}
}
