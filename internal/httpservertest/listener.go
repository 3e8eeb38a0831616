package httpservertest

import (
	"net"
	"sync"
)

// Listener is a net.Listener in memory. What one side of a connection writes, the
// other has read when the write returns.
type Listener struct {
	accepted chan net.Conn // Dial sends, Accept receives; nobody closes it
	closed   chan struct{} // closed by Close
	once     sync.Once
}

// Listen returns a listener.
func Listen() *Listener {
	return &Listener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

// Conn is a client's side of a connection.
type Conn struct {
	net.Conn
	Ended <-chan struct{} // closed when the server has closed its side
}

// Dial connects to the server. After Close, the connection is one that the server
// has closed.
func (l *Listener) Dial() *Conn {
	here, there := net.Pipe()
	server := &serverConn{Conn: there, ended: make(chan struct{})}
	select {
	case l.accepted <- server:
	case <-l.closed:
		_ = server.Close()
	}
	return &Conn{here, server.ended}
}

// serverConn is the server's side.
type serverConn struct {
	net.Conn
	ended chan struct{} // closed by Close
	once  sync.Once
}

func (c *serverConn) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return addr{} }

type addr struct{}

func (addr) Network() string { return "pipe" }
func (addr) String() string  { return "pipe" }
