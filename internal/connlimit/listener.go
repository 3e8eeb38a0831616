package connlimit

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// Listener accepts a bounded number of connections.
type Listener struct {
	net.Listener

	// Immutable once it accepts.
	Max       int        // connections; 0: no bound
	Spare     int        // connections beyond Max, or beyond an address's share, that are answered 503
	Addresses *Addresses // what one address may hold; nil: no bound
	Refused   func()     // is told of each connection that was closed at once, or is to be answered 503

	// Guarded by mu.
	mu   sync.Mutex
	open int
	over int       // of them, those beyond Max or their address's share
	idle list.List // of *Conn within the bound and without a request, the one that waits longest first
}

// Conn is a connection of a [Listener].
type Conn struct {
	net.Conn
	listener *Listener
	key      netip.Addr // the address that it counts for

	// Guarded by listener.mu.
	over     bool
	released bool
	idle     *list.Element // nil while a request is under way
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(inner); c != nil {
			return c, nil
		}
		_ = inner.Close()
		l.refused()
	}
}

// admit counts a connection, if there is room for it.
func (l *Listener) admit(inner net.Conn) *Conn {
	c := &Conn{Conn: inner, listener: l}
	if l.Addresses != nil {
		c.key = l.Addresses.peer(inner.RemoteAddr())
	}
	shared := c.key.IsValid() && !l.Addresses.connect(c.key)
	oldest, ok := l.take(c, shared)
	if oldest != nil {
		_ = oldest.Close() // outside of the lock, which it takes
	}
	switch {
	case !ok && c.key.IsValid():
		l.Addresses.disconnect(c.key)
		return nil
	case !ok:
		return nil
	case c.over:
		l.refused()
	}
	return c
}

// take makes room for a connection, whose address holds its share already or not. It returns
// the connection that gives way, if one has to.
func (l *Listener) take(c *Conn, shared bool) (oldest *Conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.Max > 0 && l.open-l.over >= l.Max
	if full && !shared && l.idle.Len() > 0 {
		oldest = l.idle.Remove(l.idle.Front()).(*Conn)
		oldest.idle = nil
		full = false // once it is closed
	}
	c.over = full || shared
	if c.over && l.over >= l.Spare {
		return oldest, false
	}
	l.open++
	if c.over {
		l.over++
	}
	return oldest, true
}

func (l *Listener) refused() {
	if l.Refused != nil {
		l.Refused()
	}
}

// Open is how many connections there are.
func (l *Listener) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Close closes the connection, which no longer counts.
func (c *Conn) Close() error {
	c.Release()
	return c.Conn.Close()
}

// Detach returns the connection itself, for who takes it over. It counts until Release.
func (c *Conn) Detach() (inner net.Conn, release func()) {
	inner, c.Conn = c.Conn, nil
	return inner, c.Release
}

// Release has the connection not count any more.
func (c *Conn) Release() {
	l := c.listener
	l.mu.Lock()
	first := !c.released
	if c.released = true; first {
		l.open--
		if c.over {
			l.over--
		}
		l.busy(c)
	}
	l.mu.Unlock()
	if first && c.key.IsValid() {
		l.Addresses.disconnect(c.key)
	}
}

// busy takes a connection off those that wait. Called with mu held.
func (l *Listener) busy(c *Conn) {
	if c.idle != nil {
		l.idle.Remove(c.idle)
		c.idle = nil
	}
}

// State is an http.Server's ConnState: it knows by it which connections wait for a request.
func (l *Listener) State(conn net.Conn, state http.ConnState) {
	c := counted(conn)
	if c == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy(c)
	if (state == http.StateNew || state == http.StateIdle) && !c.released && !c.over {
		c.idle = l.idle.PushBack(c)
	}
}

// counted is the connection of a listener that another one is wrapped around, if it is.
func counted(conn net.Conn) *Conn {
	for {
		switch c := conn.(type) {
		case *Conn:
			return c
		case interface{ NetConn() net.Conn }: // TLS
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

type overKey struct{}

// Context is an http.Server's ConnContext: it marks requests of connections beyond the bound.
func (l *Listener) Context(ctx context.Context, conn net.Conn) context.Context {
	c := counted(conn)
	if c == nil {
		return ctx
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.over {
		return context.WithValue(ctx, overKey{}, true)
	}
	return ctx
}

// Over tells whether a request came by a connection beyond the bound: it is to be answered
// 503, and its connection closed.
func Over(r *http.Request) bool { return r.Context().Value(overKey{}) != nil }
