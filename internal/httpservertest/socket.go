package httpservertest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// socketBuffer is how much a [Socket] holds of what its reader has not taken yet.
const socketBuffer = 64 << 10

// Socket is a side of a connection that does to answers what TCP does: what is
// written waits in a buffer, and a side that closes with unread data, or is sent
// more after it has closed, resets the connection: what the other one has not read
// by then is lost (RFC 1122, section 4.2.2.13).
type Socket struct {
	link    *link
	in, out *stream
}

// link is what both sides share.
type link struct {
	mu      sync.Mutex
	changed *sync.Cond // of mu
	reset   bool       // guarded by mu
}

// stream is one direction. Guarded by link.mu.
type stream struct {
	data     []byte
	ended    bool // its writer sends no more
	closed   bool // its reader has closed
	readBy   time.Time
	writeBy  time.Time
	deadline [2]*time.Timer // that wakes the reader, the writer
}

// Sockets returns the two sides of a connection.
func Sockets() (a, b *Socket) {
	l := new(link)
	l.changed = sync.NewCond(&l.mu)
	there, back := new(stream), new(stream)
	return &Socket{l, back, there}, &Socket{l, there, back}
}

// DialSocket connects to the server as [Listener.Dial] does, by a [Socket].
func (l *Listener) DialSocket() *Socket {
	here, there := Sockets()
	select {
	case l.accepted <- there:
	case <-l.closed:
		_ = there.Close()
	}
	return here
}

// Read implements net.Conn.
func (s *Socket) Read(p []byte) (int, error) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	for {
		switch {
		case s.in.closed:
			return 0, net.ErrClosed
		case s.link.reset:
			return 0, syscall.ECONNRESET
		case len(s.in.data) > 0:
			n := copy(p, s.in.data)
			s.in.data = s.in.data[n:]
			s.link.changed.Broadcast()
			return n, nil
		case s.in.ended:
			return 0, io.EOF
		case past(s.in.readBy):
			return 0, os.ErrDeadlineExceeded
		}
		s.link.changed.Wait()
	}
}

// Write implements net.Conn.
func (s *Socket) Write(p []byte) (n int, err error) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	for {
		switch {
		case s.in.closed || s.out.ended:
			return n, net.ErrClosed
		case s.link.reset:
			return n, syscall.ECONNRESET
		case len(p) == 0:
			return n, nil
		case s.out.closed:
			s.reset()
			return n, syscall.EPIPE
		case past(s.out.writeBy):
			return n, os.ErrDeadlineExceeded
		case len(s.out.data) < socketBuffer:
			some := min(len(p), socketBuffer-len(s.out.data))
			s.out.data = append(s.out.data, p[:some]...)
			n, p = n+some, p[some:]
			s.link.changed.Broadcast()
			continue
		}
		s.link.changed.Wait()
	}
}

// CloseWrite ends what this side sends.
func (s *Socket) CloseWrite() error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.out.ended = true
	s.link.changed.Broadcast()
	return nil
}

// Close implements net.Conn.
func (s *Socket) Close() error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if !s.in.closed && len(s.in.data) > 0 {
		s.reset()
	}
	s.in.closed, s.out.ended = true, true
	for _, timer := range []*time.Timer{s.in.deadline[0], s.out.deadline[1]} {
		if timer != nil {
			timer.Stop()
		}
	}
	s.link.changed.Broadcast()
	return nil
}

// reset is called with mu held.
func (s *Socket) reset() {
	s.link.reset = true
	s.link.changed.Broadcast()
}

// SetDeadline implements net.Conn.
func (s *Socket) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (s *Socket) SetReadDeadline(t time.Time) error {
	return s.set(&s.in.readBy, &s.in.deadline[0], t)
}

// SetWriteDeadline implements net.Conn.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	return s.set(&s.out.writeBy, &s.out.deadline[1], t)
}

func (s *Socket) set(by *time.Time, timer **time.Timer, t time.Time) error {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.in.closed {
		return net.ErrClosed
	}
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	if *by = t; !t.IsZero() {
		*timer = time.AfterFunc(time.Until(t), s.wake)
	}
	s.link.changed.Broadcast()
	return nil
}

func (s *Socket) wake() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	s.link.changed.Broadcast()
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// LocalAddr implements net.Conn.
func (*Socket) LocalAddr() net.Addr { return addr{} }

// RemoteAddr implements net.Conn.
func (*Socket) RemoteAddr() net.Addr { return addr{} }
