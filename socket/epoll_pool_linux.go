package socket

import (
	"net"
	"sync"
	"time"
)

// ticks is the time since the program began, in nanoseconds, by a clock that
// nobody sets. A connection keeps it in a third of the memory of a time.Time.
func ticks() int64 { return int64(time.Since(began)) }

var began = time.Now()

// polling serves an endpoint's plain TCP connections with as many epolls, which
// read, and as many writers. It starts with the first connection, and the
// endpoint stops it after the last.
type polling struct {
	writers writers

	mu sync.Mutex

	// Guarded by mu.
	epolls  []*epoll
	adopted int
	stopped bool
}

// adopt returns a connection that an epoll will serve, or nil if that cannot be:
// then netConn is as it was.
func (p *polling) adopt(e *Endpoint, netConn net.Conn, early []byte) *conn {
	tcp, ok := netConn.(*net.TCPConn)
	if !ok {
		return nil
	}
	ep := p.next(e)
	if ep == nil {
		return nil
	}
	fd, err := duplicate(tcp)
	if err != nil {
		e.config.Logger.Debug("connection gets a goroutine", "error", err)
		return nil
	}
	// Go's own poller lets go of the connection, which lives on in fd.
	_ = tcp.Close()
	w := &epollWire{epoll: ep, fd: fd, rest: early, slot: noSlot}
	w.conn.wire = w
	return &w.conn
}

// next is the epoll that the next connection goes to.
func (p *polling) next(e *Endpoint) *epoll {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return nil
	}
	if p.epolls == nil {
		p.writers.limit = e.config.Writers
		p.epolls = make([]*epoll, e.config.Writers)
	}
	at := p.adopted % len(p.epolls)
	p.adopted++
	if p.epolls[at] == nil {
		made, err := newEpoll(e, &p.writers)
		if err != nil {
			e.config.Logger.Debug("connection gets a goroutine", "error", err)
			return nil
		}
		p.epolls[at] = made
		go made.run()
	}
	return p.epolls[at]
}

// stop ends all goroutines, and waits for them. There must be no connections
// any more.
func (p *polling) stop() {
	p.mu.Lock()
	p.stopped = true
	epolls := p.epolls
	p.mu.Unlock()
	for _, ep := range epolls {
		if ep != nil {
			ep.stop()
		}
	}
	p.writers.group.Wait()
}
