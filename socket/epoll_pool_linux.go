package socket

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// ticks is the time since the program began, in nanoseconds, by a clock that
// nobody sets. A connection keeps it in a third of the memory of a time.Time.
func ticks() int64 { return int64(time.Since(began)) }

var began = time.Now()

// loopPool serves an endpoint's plain TCP connections with as many event loops, which
// read, and as many writers. It starts with the first connection, and the
// endpoint stops it after the last.
type loopPool struct {
	writers writerPool
	logOnce sync.Once // that a connection is none for it

	mu sync.Mutex

	// Guarded by mu.
	loops   []*eventLoop
	adopted int
	stopped bool
}

// adopt returns a connection that an event loop will serve, or nil if that cannot be:
// then netConn is as it was.
func (p *loopPool) adopt(e *Endpoint, netConn net.Conn, early []byte) *conn {
	tcp, ok := netConn.(*net.TCPConn)
	if !ok {
		p.logOnce.Do(func() {
			e.config.Logger.Info("sockets have a goroutine each, since their connections are no plain TCP", "path", e.config.Path, "connection", fmt.Sprintf("%T", netConn))
		})
		return nil
	}
	loop := p.next(e)
	if loop == nil {
		return nil
	}
	fd, err := duplicate(tcp)
	if err != nil {
		e.config.Logger.Debug("connection gets a goroutine", "error", err)
		return nil
	}
	// Go's own poller lets go of the connection, which lives on in fd.
	_ = tcp.Close()
	c := &epollConn{loop: loop, fd: fd, rest: early, slot: noSlot}
	c.conn.io = c
	return &c.conn
}

// next is the loop that the next connection goes to.
func (p *loopPool) next(e *Endpoint) *eventLoop {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	if p.loops == nil {
		p.writers.limit = e.config.Writers
		p.loops = make([]*eventLoop, e.config.Writers)
	}
	at := p.adopted % len(p.loops)
	p.adopted++
	if p.loops[at] == nil {
		made, err := newEventLoop(e, &p.writers)
		if err != nil {
			e.config.Logger.Debug("connection gets a goroutine", "error", err)
			return nil
		}
		p.loops[at] = made
		go made.run()
	}
	return p.loops[at]
}

// stop ends all goroutines, and waits for them. There must be no connections
// any more.
func (p *loopPool) stop() {
	p.mu.Lock()
	p.stopped = true
	loops := p.loops
	p.mu.Unlock()
	for _, loop := range loops {
		if loop != nil {
			loop.stop()
		}
	}
	p.writers.group.Wait()
}
