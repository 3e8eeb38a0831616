package swarm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// link is a client's file descriptor, stored before epoll may tell of it; 0
// while there is none. Standard input is no socket of ours.
type link struct{ fd atomic.Int32 }

// reader reads for its clients with one epoll instance. The runtime's own poller
// watches that instance, so that a reader that waits holds no thread: with a
// core to itself, a thread that waits in epoll_wait would keep others from it.
type reader struct {
	receiver

	// Immutable after newReader.
	epoll *os.File
	fd    int // of epoll

	// Owned by run.
	buffer []byte
	events []unix.EpollEvent
}

// Sizes of what a reader reads at a time.
const (
	readBuffer  = 256 << 10
	readClients = 64
)

func newReader(s *Swarm) (*reader, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("swarm: make an epoll instance: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or the runtime would not watch it
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &reader{
		receiver: receiver{swarm: s, latencies: NewLatencies()},
		epoll:    os.NewFile(uintptr(fd), "epoll"),
		fd:       fd,
		buffer:   make([]byte, readBuffer),
		events:   make([]unix.EpollEvent, readClients),
	}, nil
}

// connect begins to connect a client. It is called by the goroutine that gathers.
func (r *reader) connect(c *client) error {
	fd, err := r.swarm.dial(c)
	if err != nil {
		return err
	}
	c.stage, c.began = connecting, time.Now().UnixNano()
	c.link.fd.Store(int32(fd))
	if err := r.control(unix.EPOLL_CTL_ADD, c, unix.EPOLLOUT); err != nil {
		return err
	}
	return nil
}

// control has epoll watch for something of a client, or no longer.
func (r *reader) control(operation int, c *client, events uint32) error {
	event := unix.EpollEvent{Events: events, Fd: int32(c.number)}
	return unix.EpollCtl(r.fd, operation, int(c.link.fd.Load()), &event)
}

func (r *reader) run() {
	conn, err := r.epoll.SyscallConn()
	if err != nil {
		return // it was closed before anything began
	}
	_ = conn.Read(func(uintptr) (closed bool) { // it fails once the file is closed
		for {
			n, err := unix.EpollWait(r.fd, r.events, 0)
			if n <= 0 {
				return err != nil && err != unix.EINTR
			}
			for _, event := range r.events[:n] {
				r.serve(r.swarm.clients[event.Fd])
			}
			runtime.Gosched() // with one core, who publishes has to come to its turn
			select {
			case <-r.swarm.stop:
				return true
			default:
			}
		}
	})
}

// serve does what a client is ready for.
func (r *reader) serve(c *client) {
	fd := int(c.link.fd.Load())
	var err error
	if c.stage == connecting {
		err = r.shake(c, fd)
	} else {
		err = r.take(c, fd)
	}
	if err != nil {
		was := c.stage
		r.drop(c, fd)
		r.swarm.hasEnded(c, was, err)
	}
}

// shake sends the handshake on a connection that is established, or has failed.
func (r *reader) shake(c *client, fd int) error {
	if code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		return errors.Join(err, syscall.Errno(code))
	}
	c.stage = shaking
	if err := r.control(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN); err != nil {
		return err
	}
	return write(fd, r.swarm.request)
}

// take reads once: epoll tells again if there is more.
func (r *reader) take(c *client, fd int) error {
	held := copy(r.buffer, c.rest)
	n, err := unix.Read(fd, r.buffer[held:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	rest, err := r.receive(c, r.buffer[:held+n], time.Now().UnixNano())
	if err != nil {
		return err
	}
	if len(rest) == len(r.buffer) { // a frame larger than the buffer
		r.buffer = append(r.buffer, make([]byte, len(r.buffer))...)
	}
	if len(rest) > 0 {
		c.rest = append(c.rest[:0], rest...)
	} else if c.rest != nil {
		c.rest = c.rest[:0]
	}
	if len(r.out) > 0 {
		return write(fd, r.out)
	}
	return nil
}

// write sends the little that clients have to say, whole or not at all.
func write(fd int, data []byte) error {
	n, err := unix.Write(fd, data)
	if err == unix.EAGAIN || err == nil && n < len(data) {
		return fmt.Errorf("%d of %d bytes do not fit into the socket's buffer: join fewer topics a socket", len(data)-max(n, 0), len(data))
	}
	return err
}

// send has a client say something. It may be called concurrently: what a
// connection cannot take is not sent.
func (r *reader) send(c *client, frame []byte) {
	if fd := int(c.link.fd.Load()); fd != 0 {
		_ = write(fd, frame) // the reader learns of a connection that has ended
	}
}

func (r *reader) pause(c *client) error { return r.control(unix.EPOLL_CTL_DEL, c, 0) }

func (r *reader) resume(c *client) error {
	return r.control(unix.EPOLL_CTL_ADD, c, unix.EPOLLIN)
}

// drop ends a connection. Its descriptor stays taken until hangUp: others may be
// about to send, and must not send to whoever is given its number next.
func (r *reader) drop(c *client, fd int) {
	_ = r.control(unix.EPOLL_CTL_DEL, c, 0) // it may be paused
	_ = unix.Shutdown(fd, unix.SHUT_RDWR)   // the server may have done so
	c.stage, c.rest = ended, nil
}

// hangUp closes a client's connection. It is called once, when nothing runs.
func (r *reader) hangUp(c *client) {
	if fd := c.link.fd.Load(); fd != 0 {
		_ = unix.Close(int(fd)) // nothing is left to be sent
	}
}

// end has run return. It is called once.
func (r *reader) end() error { return r.epoll.Close() }

// What the system holds for clients that are apart, in bytes.
const (
	apartBuffer  = 16 << 10
	apartSegment = 1400
)

// dial makes a socket that connects.
func (s *Swarm) dial(c *client) (fd int, err error) {
	family, to := addressOf(s.address.IP, s.address.Port)
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}), // closed with a reset: no port stays taken
	)
	if c.apart { // the server's buffer follows the size of segments
		err = errors.Join(err,
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, apartBuffer),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, apartSegment))
	}
	if from := sourceOf(s.address.IP, c.number); from != nil {
		_, local := addressOf(from, 0)
		err = errors.Join(err,
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1), // a port is chosen per destination
			unix.Bind(fd, local))
	}
	if err == nil {
		if err = unix.Connect(fd, to); err == unix.EINPROGRESS {
			err = nil
		}
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("connect to %v: %w", s.address, err), unix.Close(fd))
	}
	return fd, nil
}

func addressOf(ip []byte, port int) (family int, address unix.Sockaddr) {
	if len(ip) == 16 && !slices.Equal(ip[:12], []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}) {
		return unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip)}
	}
	return unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte(ip[len(ip)-4:])}
}
