package socket

import (
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// stopper is a connection whose messages stop the loop that reads them, as a
// process is stopped.
type stopper struct {
	*epollConn
	reached chan struct{} // sent by the loop's goroutine, which then stands still
	release chan struct{} // closed by paused
}

func (s stopper) touch() {
	s.epollConn.touch()
	s.reached <- struct{}{}
	<-s.release
}

// paused has the loop stand still while f is called: what clients do meanwhile it
// finds all at once afterwards, together with deadlines that have passed.
func (d dialer) paused(r *rig, f func(l *eventLoop)) {
	r.t.Helper()
	here, there := d.pair(r.t)
	if rejected := r.endpoint.reserveAny(); rejected != nil {
		r.t.Fatal(rejected)
	}
	c := newConn(r.endpoint, there, nil, &channels.Socket{}, phoenix.Version2)
	s := stopper{c.io.(*epollConn), make(chan struct{}), make(chan struct{})}
	c.io = s
	r.endpoint.register(c)
	c.io.start()
	client := &client{t: r.t, Conn: here, conn: c}
	client.text(beat)
	<-s.reached
	f(s.loop)
	close(s.release)
	client.want(beaten)
	here.Close()
}

func epollRig(t *testing.T, adjust ...func(*Config)) (*rig, dialer) {
	t.Helper()
	r := newPatientRig(t, append(adjust, func(c *Config) { c.Writers, c.MailboxBytes = 1, 64<<20 })...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return r, dialer{l, func(c *net.TCPConn) net.Conn { return c }}
}

func epollConnOf(c *client) *epollConn { return c.conn.io.(*epollConn) }

// TestPauseIsNoSilence has the clients' heartbeats wait when the process goes on
// and their time is over: more of them than one look finds.
func TestPauseIsNoSilence(t *testing.T) {
	t.Parallel()
	const sockets = 2*eventsAtOnce + 10
	r, dial := epollRig(t)
	clients := make([]*client, sockets)
	for i := range clients {
		clients[i] = dial.connect(r)
		clients[i].text(beat)
		clients[i].want(beaten)
	}
	mute := dial.connect(r)
	mute.text(beat)
	mute.want(beaten)
	dial.paused(r, func(l *eventLoop) {
		for _, c := range clients {
			c.text(beat)
			epollConnOf(c).lastReceived -= int64(2 * time.Hour)
		}
		epollConnOf(mute).lastReceived -= int64(2 * time.Hour)
		l.sweepAt = 0
	})
	for _, c := range clients {
		c.want(beaten)
	}
	mute.want("close 1001")
}

// TestPauseIsNoPressure has clients read while the process stands still, and
// their time is over when it goes on.
func TestPauseIsNoPressure(t *testing.T) {
	t.Parallel()
	r, dial := epollRig(t)
	reader, mute := dial.connect(r, tight), dial.connect(r, tight)
	reader.join("room:a", `{}`)
	mute.join("room:a", `{}`)
	large := `"` + strings.Repeat("x", 4<<20) + `"`
	r.log("room:a", "created", large)
	isBlocked := func(c *client, late bool) bool { // since what was written last found no room
		w := epollConnOf(c)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.output != outputBlocked || w.deadline == 0 {
			return false
		}
		if late {
			w.deadline = 1
		}
		return true
	}
	rest := make(chan error, 1)
	dial.paused(r, func(l *eventLoop) {
		until(t, "nothing more can be written", func() bool { return isBlocked(reader, false) && isBlocked(mute, false) })
		go func() {
			f, err := reader.read()
			if want := `[null,null,"room:a","created",` + large + `]`; err == nil && string(f.Payload) != want {
				err = fmt.Errorf("%d bytes: %.50q", len(f.Payload), f.Payload)
			}
			rest <- err
		}()
		until(t, "there is room for more", func() bool { return isWritable(epollConnOf(reader).fd) && isBlocked(reader, true) })
		isBlocked(mute, true)
		l.deadlinesAt = 0
	})
	if err := <-rest; err != nil {
		t.Fatal(err)
	}
	until(t, "the mute is closed", func() bool {
		isBlocked(mute, true) // again whenever there was room for something more: its buffers are the kernel's
		return r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooSlow))) == 1
	})
}

// TestDeadlineShortenedWhileWriting shortens a deadline while a writer is at it, in whatever
// the client's buffers do then.
func TestDeadlineShortenedWhileWriting(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.WriteTimeout = time.Hour })
	for _, deadline := range []int64{0, ticks() + int64(time.Hour)} {
		w := &epollConn{loop: &eventLoop{closed: true}, deadline: deadline, output: outputWriting}
		w.endpoint = r.endpoint
		w.shortenDeadline()
		w.endWriting(full, new(unsent))
		if left := time.Duration(w.deadline - ticks()); left > closeTimeout {
			t.Errorf("%s left, with a deadline at %d before", left, deadline)
		}
	}
}

// TestWhoAcceptsSomethingHasItsTimeAnew looks at a client whose deadline has passed and
// whose buffers have room again: what it accepts next may not fill a piece.
func TestWhoAcceptsSomethingHasItsTimeAnew(t *testing.T) {
	t.Parallel()
	r := newPatientRig(t)
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		defer syscall.Close(fd)
	}
	w := &epollConn{loop: &eventLoop{writers: &writerPool{}, now: ticks()}, fd: fds[0], output: outputBlocked, deadline: 1}
	w.endpoint = r.endpoint
	if !w.checkDeadline() || w.output != outputIdle || w.deadline <= ticks() {
		t.Errorf("its deadline is at %d, now is %d, and its output is %d", w.deadline, ticks(), w.output)
	}
}
