package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// readBuffer is what a goroutineConn keeps for reading: most of what clients
// send fits. readMore is what it borrows when more comes.
const (
	readBuffer = 512
	readMore   = 16 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readMore]byte) }}

// goroutineConn carries a connection over any net.Conn. A reader goroutine lives
// as long as it; a writer goroutine while there is something to write.
type goroutineConn struct {
	conn

	// Immutable after newGoroutineConn.
	net    net.Conn
	writer func()       // write, made once so that starting it allocates nothing
	allow  func() error // allowPiece, likewise

	// Owned by run.
	early  []byte
	looked bool // the time to hear something is over but for the last look

	writing       sync.WaitGroup // the writer goroutine
	woken         time.Time      // when the writer was started; written by wake, read by the writer
	shortDeadline bool           // closeTimeout is what it has, and no more; guarded by conn.mu
}

func newGoroutineConn(netConn net.Conn, early []byte) *conn {
	c := &goroutineConn{net: netConn, early: early}
	c.conn.io, c.writer, c.allow = c, c.write, c.allowPiece
	return &c.conn
}

func (c *goroutineConn) start() { go c.run() }

func (c *goroutineConn) abandon() { c.net.Close() }

func (c *goroutineConn) abort() { c.net.Close() }

// run reads until the connection ends, and then cleans up. The endpoint has
// reserved the goroutine.
func (c *goroutineConn) run() {
	last := c.read()
	discard := outbound.DropReason("") // what was queued before still goes out
	if last.reason == closedSilent {
		discard = outbound.DropClosed
	}
	if last.reason != closedLost && c.shut(last, discard) {
		c.writing.Wait()
		if last.reason != closedByClient {
			c.linger()
		}
	}
	c.cut(closedLost, outbound.DropClosed)
	c.writing.Wait()
	c.finish()
}

// read hands on what comes in, until the connection ends. It returns how.
func (c *goroutineConn) read() closeInfo {
	c.touch()
	var small [readBuffer]byte
	var large *[readMore]byte // while what comes does not fit into small
	in := c.early
	c.early = nil
	for {
		come := len(in)
		for len(in) > 0 {
			rest, first, err := c.receive(in)
			if err != nil {
				return closeInfoFor(err)
			}
			first.perform()
			in = rest
		}
		buffer := small[:]
		if come >= readBuffer {
			if large == nil {
				large = readBuffers.Get().(*[readMore]byte)
			}
			buffer = large[:]
		} else if large != nil {
			readBuffers.Put(large)
			large = nil
		}
		n, err := c.net.Read(buffer)
		if n == 0 && err != nil && !c.lookAgain(err) {
			return closeInfoFor(err)
		}
		in = buffer[:n]
	}
}

// touch implements connIO: it gives the client time for its next message, unless
// the connection is being closed.
func (c *goroutineConn) touch() {
	c.looked = false
	timeout := c.endpoint.config.HeartbeatTimeout
	c.readUntil(timeout - timeout/lastLook)
}

// lookAgain tells whether a read that failed is to be tried once more, in what is
// left of the time to hear something. After a pause of the process time is up
// before what has come is read.
func (c *goroutineConn) lookAgain(err error) bool {
	if c.looked || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.looked = true
	return c.readUntil(c.endpoint.config.HeartbeatTimeout / lastLook)
}

// lastLook is what part of the time to hear something is left for the last look.
const lastLook = 16

// readUntil allows some time to read, and returns false if the connection is being
// closed: then it has what it has.
func (c *goroutineConn) readUntil(timeout time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != "" {
		return false
	}
	// It fails only if the connection is closed: then reading fails too.
	_ = c.net.SetReadDeadline(time.Now().Add(timeout))
	return true
}

// linger lets the client read the close frame: closing while it is still
// sending would reset the connection, and with it what the client has not read
// yet.
func (c *goroutineConn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.net.SetReadDeadline(time.Now().Add(c.endpoint.config.closeTimeout))
	_, _ = io.Copy(io.Discard, c.net)
}

// wake implements connIO: it starts the writer.
func (c *goroutineConn) wake() {
	c.woken = time.Now()
	c.writing.Add(1)
	go c.writer()
}

// shortenDeadline implements connIO.
func (c *goroutineConn) shortenDeadline() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shortDeadline = true
	_ = c.net.SetWriteDeadline(time.Now().Add(min(c.endpoint.config.closeTimeout, c.endpoint.config.WriteTimeout)))
}

// allowPiece gives the client time for a piece.
func (c *goroutineConn) allowPiece() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	timeout := c.endpoint.config.WriteTimeout
	if c.shortDeadline {
		timeout = min(timeout, c.endpoint.config.closeTimeout)
	}
	return c.net.SetWriteDeadline(time.Now().Add(timeout))
}

// write writes until nothing is queued.
func (c *goroutineConn) write() {
	defer c.writing.Done()
	m := &c.endpoint.metrics
	m.writeWait.Observe(time.Since(c.woken))
	g := gatherers.Get().(*gatherer)
	for c.outbound.Take(&g.batch, writeBytes, writePieces) {
		start := time.Now()
		if err := g.send(c.net, c.allow); err != nil {
			c.writeFailed(err)
			c.lost(&g.batch)
			continue
		}
		m.wrote(&g.batch, start)
		if g.batch.Last {
			_ = c.net.SetReadDeadline(time.Now().Add(c.endpoint.config.closeTimeout))
		}
	}
	gatherers.Put(g)
}

// writeFailed cuts the connection, in the midst of a frame perhaps.
func (c *goroutineConn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.cut(closedTooSlow, outbound.DropTooSlow)
		return
	}
	c.cut(closedLost, outbound.DropClosed)
}
