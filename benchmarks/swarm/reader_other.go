//go:build !linux

package swarm

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// link is a client's connection.
type link struct {
	mu sync.Mutex
	// Guarded by mu.
	conn   net.Conn      // nil while there is none
	paused chan struct{} // closed by resume; nil while the client reads
}

// reader reads for its clients with a goroutine each: good enough to try
// things out where there is no epoll. It takes turns in what they share.
type reader struct {
	turn     sync.Mutex
	receiver // guarded by turn

	life    context.Context
	cancel  context.CancelFunc
	reading sync.WaitGroup
}

// readBuffer is what a client reads at a time.
const readBuffer = 16 << 10

func newReader(s *Swarm) (*reader, error) {
	r := &reader{receiver: receiver{swarm: s, latencies: NewLatencies()}}
	r.life, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func (r *reader) run() {
	<-r.life.Done()
	r.reading.Wait()
}

func (r *reader) connect(c *client) error {
	c.stage, c.began = connecting, time.Now().UnixNano()
	r.reading.Go(func() {
		if err := r.serve(c); err != nil && r.life.Err() == nil {
			r.turn.Lock()
			defer r.turn.Unlock()
			was := c.stage
			c.stage = ended
			r.swarm.hasEnded(c, was, err)
		}
	})
	return nil
}

// serve connects a client, and reads until its connection ends.
func (r *reader) serve(c *client) error {
	dialer := net.Dialer{}
	if from := sourceOf(r.swarm.address.IP, c.number); from != nil && from.Equal(net.IPv4(127, 0, 0, 1)) {
		dialer.LocalAddr = &net.TCPAddr{IP: from} // others of loopback are not everywhere there
	}
	conn, err := dialer.DialContext(r.life, "tcp", r.swarm.address.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(r.life, func() { _ = conn.Close() })
	defer stop()
	if tcp, ok := conn.(*net.TCPConn); ok && c.apart {
		if err := tcp.SetReadBuffer(16 << 10); err != nil {
			return err
		}
	}
	c.link.mu.Lock()
	c.link.conn = conn
	c.link.mu.Unlock()
	c.stage = shaking
	if _, err := conn.Write(r.swarm.request); err != nil {
		return err
	}
	buffer := make([]byte, readBuffer)
	for held := 0; ; {
		if err := c.link.wait(r.life); err != nil {
			return err
		}
		n, err := conn.Read(buffer[held:])
		if err != nil {
			return err
		}
		rest, out, err := r.pass(c, buffer[:held+n])
		if err != nil {
			return err
		}
		if held = copy(buffer, rest); held == len(buffer) {
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

// pass has the receiver take what was read.
func (r *reader) pass(c *client, data []byte) (rest, out []byte, err error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	rest, err = r.receive(c, data, time.Now().UnixNano())
	return rest, append([]byte(nil), r.out...), err
}

// wait returns when the client is to read.
func (l *link) wait(ctx context.Context) error {
	l.mu.Lock()
	paused := l.paused
	l.mu.Unlock()
	if paused == nil {
		return nil
	}
	select {
	case <-paused:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *reader) send(c *client, frame []byte) {
	c.link.mu.Lock()
	conn := c.link.conn
	c.link.mu.Unlock()
	if conn != nil {
		_, _ = conn.Write(frame) // the reader learns of a connection that has ended
	}
}

var errPaused = errors.New("swarm: the client is paused already, or is not")

func (r *reader) pause(c *client) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.link.paused != nil {
		return errPaused
	}
	c.link.paused = make(chan struct{})
	return nil
}

func (r *reader) resume(c *client) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.link.paused == nil {
		return errPaused
	}
	close(c.link.paused)
	c.link.paused = nil
	return nil
}

func (r *reader) end() error {
	r.cancel()
	return nil
}

// hangUp has nothing left to do: who reads closes.
func (r *reader) hangUp(*client) {}
