package socket

import (
	"bytes"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// epollConn carries a connection over a TCP socket by non-blocking system calls
// of our own. What comes is read by the goroutine of its loop, and what goes is
// written by one of the writers; while neither has anything to do, it is nothing
// but this memory.
//
// The kernel tells of changes, once (EPOLLET): the socket has become readable or
// writable. Until a read or write has found that it is no longer, nothing more
// is said about it.
type epollConn struct {
	conn

	// Immutable after adopt.
	loop *eventLoop
	fd   int

	// Guarded by loop.mu.
	notified bool // in its pending

	// Owned by the loop's goroutine.
	input          inputState
	slot           int32
	lastReceived   int64  // when a message or control frame came, in ticks
	rest           []byte // has come, and waits
	readable       bool   // there may be something to read
	hungUp         bool   // the client's side has ended: what is left can be read to its end
	inMore         bool   // in the loop's list of that name
	inWithDeadline bool   // likewise

	// Guarded by conn.mu.
	output        outputState
	aborted       bool  // whoever sets it, or resume, notifies the loop
	resume        bool  // is to be paused no longer
	shortDeadline bool  // closeTimeout is what it has, and no more
	deadline      int64 // in ticks, when the client must have accepted or ended something; 0 if there is nothing

	// Owned by the queue of writers and guarded by its mu, and by the writer that
	// has taken the connection off it.
	next   *epollConn // behind it
	queued int64      // in ticks, when it was put there, of a sample; else 0
	unsent *unsent    // nil if nothing is
}

// inputState is where reading from a connection is. Only the loop's goroutine knows
// it, and changes it:
//
//	            a message   the wait   what came   the client's   the connection
//	            has to wait is over    closes it   side has ended is cut or done
//	open        paused      –          discarded   ended          ended
//	paused      –           open       –           – (1)          ended
//	discarded   –           –          –           drained (2)    ended
//	drained     –           –          –           – (2)          ended
//	ended       –           –          –           –              –
//
// (1) Nothing is read that would tell so; if the connection is broken, it is ended.
// (2) Until the close frame has been sent: if it has been, ended.
type inputState uint8

const (
	inputOpen      inputState = iota // what comes is handed on
	inputPaused                      // nothing is read for now
	inputDiscarded                   // what comes is of no interest any more, but for its end
	inputDrained                     // and that has come
	inputEnded
)

// discards tells whether what comes is of no interest any more.
func (s inputState) discards() bool { return s == inputDiscarded || s == inputDrained }

// start implements connIO.
func (c *epollConn) start() { c.loop.notify(c) }

// abandon implements connIO.
func (c *epollConn) abandon() { _ = syscall.Close(c.fd) }

// wake implements connIO.
func (c *epollConn) wake() { c.loop.writers.push(c) }

// touch implements connIO.
func (c *epollConn) touch() { c.lastReceived = c.loop.now }

// abort implements connIO.
func (c *epollConn) abort() {
	c.mu.Lock()
	c.aborted = true
	c.mu.Unlock()
	c.loop.notify(c)
}

// shortenDeadline implements connIO.
func (c *epollConn) shortenDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shortDeadline = true // the writer that is at it will see it
	if soon := ticks() + int64(c.endpoint.config.closeTimeout); c.deadline > soon {
		c.deadline = soon
	}
}

// allowed is how long the client has to accept a piece. Called with mu held.
func (c *epollConn) allowed() time.Duration {
	if c.shortDeadline {
		return min(c.endpoint.config.closeTimeout, c.endpoint.config.WriteTimeout)
	}
	return c.endpoint.config.WriteTimeout
}

// handlePending does what others have asked for by notify. It is called by the
// loop's goroutine, as all that follows.
func (c *epollConn) handlePending() {
	if c.input == inputEnded {
		return
	}
	if c.slot == noSlot {
		c.touch()
		if c.loop.add(c) != nil {
			c.end()
			return
		}
		c.take(c.rest)
	}
	c.mu.Lock()
	aborted, closeSent, resume, hasDeadline := c.aborted, c.output == outputCloseSent, c.resume, c.deadline > 0
	c.resume = false
	c.mu.Unlock()
	if hasDeadline && !c.inWithDeadline {
		c.inWithDeadline = true
		c.loop.withDeadline = append(c.loop.withDeadline, c)
	}
	switch {
	case aborted, closeSent && c.input.discards() && (c.input == inputDrained || c.reason() == closedByClient):
		c.end()
	case closeSent && c.input.discards():
		// Let the client read the close frame: closing while it is still sending
		// would reset the connection, and with it what it has not read yet.
		// Reading it to its end is the end.
		_ = syscall.Shutdown(c.fd, syscall.SHUT_WR)
	case resume:
		c.input = inputOpen
		c.take(c.rest)
		c.read()
	}
}

// handleEvents deals with what the kernel tells.
func (c *epollConn) handleEvents(events uint32) {
	const (
		broken = syscall.EPOLLERR | syscall.EPOLLHUP
		ending = broken | syscall.EPOLLRDHUP
	)
	if events&(syscall.EPOLLOUT|broken) != 0 {
		c.unblock()
	}
	c.hungUp = c.hungUp || events&ending != 0
	c.readable = c.readable || events&(syscall.EPOLLIN|ending) != 0
	if events&broken != 0 && c.input == inputPaused {
		c.end()
		return
	}
	c.read()
}

// read reads what has come, up to a point.
func (c *epollConn) read() {
	l := c.loop
	for range readsAtOnce {
		if !c.mayRead() {
			return
		}
		n, err := readNow(c.fd, l.buffer[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			c.readable = false
			return
		case n == 0 && err == 0 && c.input.discards() && !c.closeSent():
			c.readable, c.input = false, inputDrained // and gets the close frame all the same
			return
		case n <= 0:
			c.closeWith(closeInfo{reason: closedLost})
			return
		}
		c.readable = c.hungUp || n == len(l.buffer)
		c.take(l.buffer[:n])
	}
	if c.mayRead() && !c.inMore {
		c.inMore = true
		l.more = append(l.more, c)
	}
}

// mayRead tells whether there may be something to read, and it is to be.
func (c *epollConn) mayRead() bool {
	return c.readable && c.input != inputPaused && c.input != inputEnded
}

// readsAtOnce is how many times in a row one connection is read from.
const readsAtOnce = 2

// take hands on what has come, or what has waited.
func (c *epollConn) take(in []byte) {
	c.rest = nil
	if c.input.discards() || len(in) == 0 {
		return
	}
	rest, first, err := c.receive(in)
	switch {
	case err != nil:
		c.closeWith(closeInfoFor(err))
	case first.do != nil:
		c.pause(rest)
		c.session.group.Go(func() {
			first.perform()
			c.resumeReading()
		})
	case first.wait > 0:
		c.pause(rest)
		time.AfterFunc(first.wait, c.resumeReading)
	}
}

// pause stops reading until resumeReading is called. A client that sends on fills the
// buffers of the kernel's, and then waits.
func (c *epollConn) pause(rest []byte) {
	c.input = inputPaused
	c.rest = bytes.Clone(rest)
}

// resumeReading ends a pause. It may be called by anybody.
func (c *epollConn) resumeReading() {
	c.mu.Lock()
	c.resume = true
	c.mu.Unlock()
	c.loop.notify(c)
}

// closeWith ends the connection, or at least begins to if the client is to get a
// close frame.
func (c *epollConn) closeWith(last closeInfo) {
	if last.reason != closedLost && c.shut(last, "") {
		c.input = inputDiscarded
		return
	}
	c.end()
}

// end is the end of reading.
func (c *epollConn) end() {
	if c.input == inputEnded {
		return
	}
	c.input = inputEnded
	c.begin(closedLost)
	c.outbound.Close(nil, outbound.DropClosed)
	c.loop.remove(c)
	c.rest, c.frames = nil, frameReader{}
	if left := c.closeOutput(); left != nil {
		c.lost(&left.batch)
	}
	go c.finish()
}

// isSilent tells whether nothing has come for too long. It reads what is there
// before it judges: after a pause of the process that is not what has been received.
// What waits for us is no silence.
func (c *epollConn) isSilent() bool {
	timeout := int64(c.endpoint.config.HeartbeatTimeout)
	if c.loop.now-c.lastReceived <= timeout || c.input == inputPaused {
		return false
	}
	c.readable = true
	c.read()
	return c.input != inputEnded && c.input != inputPaused && !c.inMore && c.loop.now-c.lastReceived > timeout
}

// checkDeadline ends the connection if its deadline has passed. It returns
// false if there is none. Like isSilent, it first looks at what the client has
// done meanwhile.
func (c *epollConn) checkDeadline() bool {
	c.mu.Lock()
	deadline, output := c.deadline, c.output
	c.mu.Unlock()
	late := deadline > 0 && deadline <= c.loop.now && c.input != inputEnded
	switch {
	case late && output == outputCloseSent:
		c.readable = true
		c.read() // the end of its side, perhaps
	case late && output == outputBlocked && isWritable(c.fd): // it has accepted something
		c.mu.Lock()
		c.deadline = ticks() + int64(c.allowed())
		c.mu.Unlock()
		c.unblock()
		late = false
	case late && output != outputBlocked:
		late = false // a writer is at it, or will be
	}
	c.inWithDeadline = deadline > 0 && c.input != inputEnded
	if c.inWithDeadline && late {
		c.cut(closedTooSlow, outbound.DropTooSlow)
	}
	return c.inWithDeadline
}

func (c *epollConn) closeSent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.output == outputCloseSent
}

func (c *epollConn) reason() closeReason {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}
