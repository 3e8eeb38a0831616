package socket

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
)

// conn is a WebSocket connection. A reader goroutine lives as long as it; a
// writer goroutine while there is something to write.
type conn struct {
	// Immutable after newConn.
	endpoint *Endpoint
	net      net.Conn
	session  *session
	outlet   *channels.Outlet
	writer   func() // write, made once so that starting it allocates nothing

	frames frameReader // owned by run

	writing sync.WaitGroup // the writer goroutine
	woken   time.Time      // when the writer was started; written by Wake, read by the writer

	mu    sync.Mutex
	cause closeReason // why the connection is being closed, "" while it is not; guarded by mu
}

// farewell is a planned end of a connection.
type farewell struct {
	reason closeReason
	code   ws.StatusCode
	text   string
}

// The ends that the server plans by itself; those in answer to what a client
// sent are made where it is read.
var (
	silent       = farewell{closedSilent, ws.StatusGoingAway, "heartbeat timeout"}
	disconnected = farewell{closedByID, ws.StatusGoingAway, "disconnected"}
	tooSlow      = farewell{closedTooSlow, ws.StatusPolicyViolation, "too slow"}
	malformed    = farewell{closedMalformed, ws.StatusInternalServerError, "malformed message"}
	draining     = farewell{closedDrain, statusServiceRestart, "service restart"}
	aged         = farewell{closedAged, statusServiceRestart, "connection age"}
	expired      = farewell{closedExpired, ws.StatusPolicyViolation, "access ended"}
)

// statusServiceRestart tells a client to connect again (IANA's registry of
// WebSocket close codes).
const statusServiceRestart ws.StatusCode = 1012

// closeTimeout is how long a client has to end its side, once ours has said
// farewell.
const closeTimeout = 5 * time.Second

// newConn returns a connection that run brings to life. What comes in is read
// from r.
func newConn(e *Endpoint, netConn net.Conn, r io.Reader, socket *channels.Socket, format channels.Format) *conn {
	c := &conn{endpoint: e, net: netConn}
	c.writer = c.write
	c.outlet = channels.NewOutlet(e.config.Host.Hub(), channels.OutletConfig{
		Replies:  e.config.Delivery.MailboxSize,
		Bytes:    e.config.MailboxBytes,
		Wake:     c.wake,
		Overflow: func() { c.shut(tooSlow, "") },
	})
	c.session = newSession(e.context, &e.config, format, socket, c.outlet)
	c.frames.init(r, e.config.MaxMessageBytes)
	return c
}

// run reads until the connection ends, and then cleans up. The endpoint has
// reserved the goroutine.
func (c *conn) run() {
	last := c.read()
	discard := channels.DropReason("") // what was queued before still goes out
	if last.reason == closedSilent {
		discard = channels.DropClosed
	}
	if last.reason != closedLost && c.shut(last, discard) {
		c.writing.Wait()
		if last.reason != closedByClient {
			c.linger()
		}
	}
	c.cut(closedLost, channels.DropClosed)
	c.writing.Wait()
	c.session.close()
	c.endpoint.remove(c, c.cause)
}

// read hands what comes in to the session, until the connection ends. It
// returns how.
func (c *conn) read() farewell {
	for {
		c.expect(c.endpoint.config.HeartbeatTimeout)
		op, data, err := c.frames.next(c.control)
		if err != nil {
			return farewellFor(err)
		}
		switch {
		case c.closing():
			continue
		case op == ws.OpText:
			err = c.session.text(data)
		default:
			err = c.session.binary(data)
		}
		if err != nil {
			c.endpoint.config.Logger.Debug("client sent a malformed message",
				"remote_addr", c.session.current().RemoteAddr, "error", err)
			return malformed
		}
	}
}

// control answers a ping. A client that sends control frames is alive.
func (c *conn) control(op ws.OpCode, payload []byte) {
	c.expect(c.endpoint.config.HeartbeatTimeout)
	if op == ws.OpPing {
		// An error means that the connection is being closed.
		_ = c.outlet.Reply(append(appendHeader(nil, opPong, len(payload)), payload...))
	}
}

// farewellFor is how to end a connection after an error in reading.
func farewellFor(err error) farewell {
	var f *frameError
	var timeout net.Error
	switch {
	case errors.As(err, &f):
		return f.farewell
	case errors.As(err, &timeout) && timeout.Timeout():
		return silent
	}
	return farewell{reason: closedLost}
}

// expect gives the client time for its next message, unless the connection is
// being closed.
func (c *conn) expect(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == "" {
		// It fails only if the connection is closed: then reading fails too.
		_ = c.net.SetReadDeadline(time.Now().Add(within))
	}
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

// about implements link.
func (c *conn) about() (*session, string) { return c.session, "websocket" }

// shut implements link: after what is queued comes a close frame, and then the
// client has closeTimeout to end its side.
func (c *conn) shut(f farewell, discard channels.DropReason) bool {
	if !c.begin(f.reason) {
		return false
	}
	if discard != "" || f.reason == closedTooSlow {
		_ = c.net.SetWriteDeadline(time.Now().Add(closeTimeout)) // for what is being written
	}
	var body []byte
	if f.code != ws.StatusNoStatusRcvd {
		body = ws.NewCloseFrameBody(f.code, f.text)
	}
	c.outlet.Close(append(appendHeader(nil, opClose, len(body)), body...), discard)
	return true
}

// cut implements link: the reader and the writer end.
func (c *conn) cut(reason closeReason, discard channels.DropReason) {
	c.begin(reason)
	c.outlet.Close(nil, discard)
	c.net.Close()
}

// linger lets the client read the close frame: closing while it is still
// sending would reset the connection, and with it what the client has not read
// yet.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.net.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.Copy(io.Discard, c.net)
}
