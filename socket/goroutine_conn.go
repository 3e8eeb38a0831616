package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// readBuffer is what a goroutineWire keeps for reading: most of what clients
// send fits. readMore is what it borrows when more comes.
const (
	readBuffer = 512
	readMore   = 16 << 10
)

var readBuffers = sync.Pool{New: func() any { return new([readMore]byte) }}

// goroutineWire carries a connection over any net.Conn. A reader goroutine lives
// as long as it; a writer goroutine while there is something to write.
type goroutineWire struct {
	conn

	// Immutable after newGoroutineWire.
	net    net.Conn
	writer func()       // write, made once so that starting it allocates nothing
	allow  func() error // allowPiece, likewise

	// Owned by run.
	early  []byte
	looked bool // the time to hear something is over but for the last look

	writing sync.WaitGroup // the writer goroutine
	woken   time.Time      // when the writer was started; written by wake, read by the writer
	hurried bool           // closeTimeout is what it has, and no more; guarded by conn.mu
}

func newGoroutineWire(netConn net.Conn, early []byte) *conn {
	w := &goroutineWire{net: netConn, early: early}
	w.conn.wire, w.writer, w.allow = w, w.write, w.allowPiece
	return &w.conn
}

func (w *goroutineWire) start() { go w.run() }

func (w *goroutineWire) abandon() { w.net.Close() }

func (w *goroutineWire) sever() { w.net.Close() }

// run reads until the connection ends, and then cleans up. The endpoint has
// reserved the goroutine.
func (w *goroutineWire) run() {
	last := w.read()
	discard := channels.DropReason("") // what was queued before still goes out
	if last.reason == closedSilent {
		discard = channels.DropClosed
	}
	if last.reason != closedLost && w.shut(last, discard) {
		w.writing.Wait()
		if last.reason != closedByClient {
			w.linger()
		}
	}
	w.cut(closedLost, channels.DropClosed)
	w.writing.Wait()
	w.finish()
}

// read hands on what comes in, until the connection ends. It returns how.
func (w *goroutineWire) read() farewell {
	w.heard()
	var small [readBuffer]byte
	var large *[readMore]byte // while what comes does not fit into small
	in := w.early
	w.early = nil
	for {
		come := len(in)
		for len(in) > 0 {
			rest, first, err := w.receive(in)
			if err != nil {
				return farewellFor(err)
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
		n, err := w.net.Read(buffer)
		if n == 0 && err != nil && !w.lookAgain(err) {
			return farewellFor(err)
		}
		in = buffer[:n]
	}
}

// heard implements wire: it gives the client time for its next message, unless
// the connection is being closed.
func (w *goroutineWire) heard() {
	w.looked = false
	timeout := w.endpoint.config.HeartbeatTimeout
	w.readUntil(timeout - timeout/lastLook)
}

// lookAgain tells whether a read that failed is to be tried once more, in what is
// left of the time to hear something. After a pause of the process time is up
// before what has come is read.
func (w *goroutineWire) lookAgain(err error) bool {
	if w.looked || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	w.looked = true
	return w.readUntil(w.endpoint.config.HeartbeatTimeout / lastLook)
}

// lastLook is what part of the time to hear something is left for the last look.
const lastLook = 16

// readUntil allows some time to read, and returns false if the connection is being
// closed: then it has what it has.
func (w *goroutineWire) readUntil(timeout time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cause != "" {
		return false
	}
	// It fails only if the connection is closed: then reading fails too.
	_ = w.net.SetReadDeadline(time.Now().Add(timeout))
	return true
}

// linger lets the client read the close frame: closing while it is still
// sending would reset the connection, and with it what the client has not read
// yet.
func (w *goroutineWire) linger() {
	if half, ok := w.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = w.net.SetReadDeadline(time.Now().Add(closeTimeout))
	_, _ = io.Copy(io.Discard, w.net)
}

// wake implements wire: it starts the writer.
func (w *goroutineWire) wake() {
	w.woken = time.Now()
	w.writing.Add(1)
	go w.writer()
}

// hurry implements wire.
func (w *goroutineWire) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true
	_ = w.net.SetWriteDeadline(time.Now().Add(min(closeTimeout, w.endpoint.config.WriteTimeout)))
}

// allowPiece gives the client time for a piece.
func (w *goroutineWire) allowPiece() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	timeout := w.endpoint.config.WriteTimeout
	if w.hurried {
		timeout = min(timeout, closeTimeout)
	}
	return w.net.SetWriteDeadline(time.Now().Add(timeout))
}

// write writes until nothing is queued.
func (w *goroutineWire) write() {
	defer w.writing.Done()
	m := &w.endpoint.meters
	m.writeWait.Observe(time.Since(w.woken))
	g := gatherers.Get().(*gatherer)
	for w.outlet.Take(&g.batch, writeBytes, writePieces) {
		start := time.Now()
		if err := g.send(w.net, w.allow); err != nil {
			w.writeFailed(err)
			w.lost(&g.batch)
			continue
		}
		m.wrote(&g.batch, start)
		if g.batch.Last {
			_ = w.net.SetReadDeadline(time.Now().Add(closeTimeout))
		}
	}
	gatherers.Put(g)
}

// writeFailed cuts the connection, in the midst of a frame perhaps.
func (w *goroutineWire) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		w.cut(closedTooSlow, channels.DropTooSlow)
		return
	}
	w.cut(closedLost, channels.DropClosed)
}
