package socket

import (
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// conn is a WebSocket connection: what all of them have in common, whatever
// carries them.
type conn struct {
	// Immutable after newConn.
	endpoint *Endpoint
	io       connIO
	session  session
	outbound *outbound.Connection

	// Owned by whoever calls receive.
	frames frameReader
	pings  *rateLimiter // nil until there is one
	full   time.Time    // since when reading waits for handlers; zero if it does not

	mu    sync.Mutex
	cause closeReason // why the connection is being closed, "" while it is not; guarded by mu
}

// connIO carries a connection's bytes. There are two: goroutineConn, for every
// net.Conn, and on Linux epollConn for TCP, which costs no goroutine while
// nothing happens.
type connIO interface {
	// start begins to read. It is called once, unless abandon is.
	start()

	// abandon lets go of a connection that has not been started.
	abandon()

	// wake has what is outbound written. That calls it, with its lock held.
	wake()

	// touch is called when a message or control frame has come.
	touch()

	// shortenDeadline allows closeTimeout, and no more, for what is being written.
	shortenDeadline()

	// abort ends reading and writing. The connection is removed from its
	// endpoint when both have ended, and the handlers of its channels have.
	abort()
}

// maxPings is how many pings and pongs a client may send per second, after as
// many at once. No client in use comes near it.
const maxPings = 10

// inboundPause is how long reading waits before it looks again whether handlers are
// done with some of what its client has sent.
const inboundPause = 10 * time.Millisecond

// newConn returns a connection that its connIO's start brings to life. Of what the
// client sends, early has come already.
func newConn(e *Endpoint, netConn net.Conn, early []byte, socket *channels.Socket, format outbound.Format) *conn {
	c := e.loops.adopt(e, netConn, early)
	if c == nil {
		c = newGoroutineConn(netConn, early)
	}
	c.endpoint = e
	c.outbound = outbound.NewConnection(e.config.Host.Hub(), outbound.ConnectionConfig{
		Replies:  max(e.config.Options.MailboxSize, e.config.InboundQueue), // a burst may be answered at once
		Bytes:    e.config.MailboxBytes,
		Wake:     c.io.wake,
		Overflow: func() { c.shut(tooSlow, "") },
	})
	c.session.init(e.context, &e.config, format, socket, c.outbound)
	return c
}

// receive handles what has come from the client. If some of it has to wait, it
// is returned, with what comes first. An error is how the connection ends. It
// never blocks. What is in the memory of in is overwritten.
func (c *conn) receive(in []byte) (rest []byte, first after, err error) {
	for {
		if wait, err := c.waitForRoom(); wait > 0 || err != nil {
			return in, after{wait: wait}, err
		}
		op, payload, rest, err := c.frames.next(in, c.endpoint.config.MaxMessageBytes)
		if err != nil || op == opNone {
			return nil, after{}, err
		}
		c.io.touch()
		in = rest
		switch {
		case op == ws.OpPing, op == ws.OpPong:
			if op == ws.OpPing {
				// An error means that the connection is being closed.
				_ = c.outbound.Reply(append(phoenix.AppendFrameHeader(nil, opPong, len(payload)), payload...))
			}
			if wait := c.limitPing(time.Now()); wait > 0 {
				return rest, after{wait: wait}, nil
			}
			continue
		case c.closing():
			continue
		}
		first, err := c.session.take(payload, op == ws.OpBinary)
		if err != nil {
			c.endpoint.config.Logger.Debug("client sent a malformed message",
				"remote_addr", c.session.current().RemoteAddr, "error", err)
			return nil, after{}, errMalformedMessage
		}
		if first.do != nil || first.wait > 0 {
			return rest, first, nil
		}
	}
}

// waitForRoom says how long reading has to wait because the client has too much
// inbound. That ends: who is not read from cannot be told from who has gone.
func (c *conn) waitForRoom() (time.Duration, error) {
	switch {
	case !c.session.inbound.Full(), c.closing():
		c.full = time.Time{}
		return 0, nil
	case c.full.IsZero():
		c.full = time.Now()
	case time.Since(c.full) >= c.endpoint.config.HeartbeatTimeout:
		return 0, &frameError{silent}
	}
	return inboundPause, nil
}

// limitPing counts a ping or pong, and says how long reading has to wait: who
// sends nothing else is not to be answered as fast as he can ask.
func (c *conn) limitPing(now time.Time) time.Duration {
	if c.pings == nil {
		c.pings = &rateLimiter{perSecond: maxPings}
	}
	c.pings.count(now)
	wait := c.pings.wait(now)
	if limiter := c.session.limiter; limiter != nil { // they are messages too
		limiter.count(now)
		wait = max(wait, limiter.wait(now))
	}
	return wait
}

func (c *conn) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause != ""
}

// begin marks the beginning of the end. It returns false if that has been
// before.
func (c *conn) begin(reason closeReason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := c.cause == ""
	if first {
		c.cause = reason
	}
	return first
}

// about implements connection.
func (c *conn) about() (*session, string) { return &c.session, websocketTransport }

// shut implements connection: after what is queued comes a close frame, and then the
// client has closeTimeout to end its side.
func (c *conn) shut(info closeInfo, discard outbound.DropReason) bool {
	if !c.begin(info.reason) {
		return false
	}
	if discard != "" || info.reason == closedTooSlow {
		c.io.shortenDeadline()
	}
	var body []byte
	if info.code != ws.StatusNoStatusRcvd {
		body = ws.NewCloseFrameBody(info.code, info.text)
	}
	c.outbound.Close(append(phoenix.AppendFrameHeader(nil, opClose, len(body)), body...), discard)
	return true
}

// cut implements connection.
func (c *conn) cut(reason closeReason, discard outbound.DropReason) {
	c.begin(reason)
	c.outbound.Close(nil, discard)
	c.io.abort()
}

// lost counts a batch that could not be written. If it has been, it does nothing.
func (c *conn) lost(b *outbound.WriteBatch) {
	c.mu.Lock()
	reason := outbound.DropClosed
	if c.cause == closedTooSlow {
		reason = outbound.DropTooSlow
	}
	c.mu.Unlock()
	b.Lost(reason)
}

// finish is the last thing that happens to a connection, when its connIO has
// ended. It waits for the handlers of its channels.
func (c *conn) finish() {
	c.session.close()
	c.endpoint.remove(c, c.cause)
}
