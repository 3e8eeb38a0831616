package socket

import (
	"net"
	"sync"

	"github.com/sluicehq/sluice/channels/outbound"
)

const (
	writeBytes  = 256 << 10 // taken from what is outbound at a time, and written within Config.WriteTimeout
	writePieces = 64        // in one system call; the connection keeps 16 bytes for each
	joinBytes   = 64 << 10  // where the connection cannot gather, copied together
)

// gatherer is what a goroutine works with that writes to a net.Conn. They are
// reused: there are as many as goroutines are writing at a time.
type gatherer struct {
	batch   outbound.WriteBatch
	pieces  net.Buffers // room for what is gathered
	vector  net.Buffers // pieces, while being written
	joined  []byte
	pending int // bytes in pieces
}

var gatherers = sync.Pool{New: func() any { return new(gatherer) }}

// send writes the batch, in as few system calls as the connection allows. It has
// allow called for each writeBytes of it, to give that its time.
func (g *gatherer) send(to net.Conn, allow func() error) error {
	for _, frame := range g.batch.Frames {
		for len(frame) > 0 {
			n := min(len(frame), writeBytes-g.pending)
			g.pieces = append(g.pieces, frame[:n])
			g.pending += n
			frame = frame[n:]
			if g.pending == writeBytes {
				if err := g.flush(to, allow); err != nil {
					return err
				}
			}
		}
	}
	return g.flush(to, allow)
}

// flush writes the pieces.
func (g *gatherer) flush(to net.Conn, allow func() error) error {
	defer func() {
		clear(g.pieces)
		g.pieces, g.vector, g.pending = g.pieces[:0], nil, 0
	}()
	if g.pending == 0 {
		return nil
	}
	err := allow()
	if err != nil {
		return err
	}
	if len(g.pieces) == 1 {
		_, err = to.Write(g.pieces[0])
		return err
	}
	switch to.(type) {
	case *net.TCPConn, *net.UnixConn:
		g.vector = g.pieces
		_, err = g.vector.WriteTo(to)
		return err
	}
	return g.join(to)
}

// join writes the pieces to a connection that cannot gather them, such as TLS,
// which would make a record of each.
func (g *gatherer) join(to net.Conn) error {
	g.joined = g.joined[:0]
	for i, piece := range g.pieces {
		g.joined = append(g.joined, piece...)
		if len(g.joined) >= joinBytes || i == len(g.pieces)-1 {
			if _, err := to.Write(g.joined); err != nil {
				return err
			}
			g.joined = g.joined[:0]
		}
	}
	return nil
}
