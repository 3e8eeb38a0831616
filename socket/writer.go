package socket

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
)

const (
	writeBytes  = 256 << 10 // taken from the outlet at a time, and written within Config.WriteTimeout
	writePieces = 64        // in one system call; the connection keeps 16 bytes for each
	joinBytes   = 64 << 10  // where the connection cannot gather, copied together
)

// wake starts the writer. The outlet calls it, with its lock held.
func (c *conn) wake() {
	c.woken = time.Now()
	c.writing.Add(1)
	go c.writer()
}

// write writes until nothing is queued.
func (c *conn) write() {
	defer c.writing.Done()
	m := &c.endpoint.meters
	m.writeWait.Observe(time.Since(c.woken))
	w := writers.Get().(*writer)
	defer writers.Put(w)
	for c.outlet.Take(&w.batch, writeBytes, writePieces) {
		start := time.Now()
		if err := w.send(c.net, c.endpoint.config.WriteTimeout); err != nil {
			c.writeFailed(err)
			continue
		}
		m.wrote(&w.batch, start)
		if w.batch.Last {
			_ = c.net.SetReadDeadline(time.Now().Add(closeTimeout))
		}
	}
}

// writeFailed cuts the connection, in the midst of a frame perhaps.
func (c *conn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.cut(closedTooSlow, channels.DropTooSlow)
		return
	}
	c.cut(closedLost, channels.DropClosed)
}

// writer is what a writing goroutine works with. Writers are reused: there are
// as many as goroutines are writing at a time.
type writer struct {
	batch   channels.Batch
	pieces  net.Buffers // room for what is gathered
	vector  net.Buffers // pieces, while being written
	joined  []byte
	pending int // bytes in pieces
}

var writers = sync.Pool{New: func() any { return new(writer) }}

// send writes the batch, in as few system calls as the connection allows. The
// timeout is for each writeBytes of it.
func (w *writer) send(to net.Conn, timeout time.Duration) error {
	for _, frame := range w.batch.Frames {
		for len(frame) > 0 {
			n := min(len(frame), writeBytes-w.pending)
			w.pieces = append(w.pieces, frame[:n])
			w.pending += n
			frame = frame[n:]
			if w.pending == writeBytes {
				if err := w.flush(to, timeout); err != nil {
					return err
				}
			}
		}
	}
	return w.flush(to, timeout)
}

// flush writes the pieces.
func (w *writer) flush(to net.Conn, timeout time.Duration) error {
	defer func() {
		clear(w.pieces)
		w.pieces, w.vector, w.pending = w.pieces[:0], nil, 0
	}()
	if w.pending == 0 {
		return nil
	}
	err := to.SetWriteDeadline(time.Now().Add(timeout))
	if err != nil {
		return err
	}
	if len(w.pieces) == 1 {
		_, err = to.Write(w.pieces[0])
		return err
	}
	switch to.(type) {
	case *net.TCPConn, *net.UnixConn:
		w.vector = w.pieces
		_, err = w.vector.WriteTo(to)
		return err
	}
	return w.join(to)
}

// join writes the pieces to a connection that cannot gather them, such as TLS,
// which would make a record of each.
func (w *writer) join(to net.Conn) error {
	w.joined = w.joined[:0]
	for i, piece := range w.pieces {
		w.joined = append(w.joined, piece...)
		if len(w.joined) >= joinBytes || i == len(w.pieces)-1 {
			if _, err := to.Write(w.joined); err != nil {
				return err
			}
			w.joined = w.joined[:0]
		}
	}
	return nil
}
