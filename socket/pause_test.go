package socket

import (
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// pausedConn is a connection of a process that stands still for a while: what
// comes meanwhile is found afterwards, and a deadline that has passed first.
type pausedConn struct {
	net.Conn
	from, to time.Time

	mu       sync.Mutex
	deadline time.Time // guarded by mu

	come []byte // owned by the reader
}

func (c *pausedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.deadline = t
	c.mu.Unlock()
	return c.Conn.SetReadDeadline(t)
}

func (c *pausedConn) late() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.deadline.IsZero() && !time.Now().Before(c.deadline)
}

func (c *pausedConn) Read(p []byte) (int, error) {
	if len(c.come) == 0 {
		if now := time.Now(); !now.Before(c.from) && now.Before(c.to) {
			_ = c.Conn.SetReadDeadline(time.Time{})
			buffer := make([]byte, 1024)
			n, err := c.Conn.Read(buffer)
			if err != nil {
				return n, err
			}
			c.come = buffer[:n]
			time.Sleep(time.Until(c.to)) // of the test's own clock
		}
	}
	if c.late() {
		return 0, os.ErrDeadlineExceeded
	}
	if len(c.come) > 0 {
		n := copy(p, c.come)
		c.come = c.come[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// TestPauseIsNoSilenceForAGoroutine is TestPauseIsNoSilence for connections that
// have a goroutine of their own.
func TestPauseIsNoSilenceForAGoroutine(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		here, there := net.Pipe()
		start := time.Now()
		conn := &pausedConn{Conn: there, from: start, to: start.Add(100 * time.Second)}
		c := r.attach(phoenix.Version2, &channels.Socket{ID: "user"}, here, conn)
		time.Sleep(30 * time.Second) // of the test's own clock
		c.text(beat)
		c.want(beaten)
		if took := time.Since(start); took != 100*time.Second {
			t.Fatalf("answered after %s", took)
		}
		c.want("close 1001")
		if took := time.Since(start); took != 160*time.Second {
			t.Fatalf("closed after %s", took)
		}
		c.Close()
	})
}

// TestPauseIsNoEndOfPolling has the time of a session be over when the process
// goes on, and its next poll come then.
func TestPauseIsNoEndOfPolling(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		p := r.joinedPoll()
		session, _ := r.endpoint.find(p.token)
		late := func() {
			session.mu.Lock()
			session.idle = session.idle.Add(-time.Hour)
			session.mu.Unlock()
			session.timeUp()
		}
		late()
		p.text(beat)
		if got := p.next(); got != beaten {
			t.Fatal("the session has ended: ", got)
		}
		late()                     // and nobody polls
		time.Sleep(lastLookAtPoll) // of the test's own clock
		synctest.Wait()
		if r.endpoint.Sockets() > 0 {
			t.Fatal("the session lives on")
		}
	})
}
