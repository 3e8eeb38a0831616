package socket

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/channels/outbound"
)

// eventLoop is an epoll instance, and the goroutine that serves its connections: it
// reads from all of them in turn, and sees to it that each ends in time. Only
// that goroutine adds and ends connections; others ask for it by notify.
//
// While nothing happens, it waits in Go's poller, which watches the epoll
// instance as it watches any file: no thread is blocked.
type eventLoop struct {
	// Immutable after newEventLoop.
	endpoint *Endpoint
	writers  *writerPool
	fd       int
	file     *os.File // fd, for Go's poller
	wait     syscall.RawConn
	wakeFD   int                // an eventfd that says that there is something pending
	ready    func(uintptr) bool // poll, made once
	ended    chan struct{}      // closed by run

	mu sync.Mutex

	// Guarded by mu.
	pending  []*epollConn // connections that want to be looked at; each once
	stopping bool         // run is to end
	closed   bool         // run has ended

	// Owned by run.
	now          int64 // ticks
	events       [eventsAtOnce]unix.EpollEvent
	eventCount   int          // events that the last poll has found
	batch        []*epollConn // what was pending, and is being worked off
	conns        []*epollConn // by slot; nil where it is free
	free         []int32      // slots
	more         []*epollConn // of which not all has been read that has come
	withDeadline []*epollConn // that have to do something by some time
	buffer       [readAtOnce]byte
	sweepAt      int64 // when to look for the silent; never if there are no connections
	deadlinesAt  int64 // when to check deadlines; never if there are none
	alarm        int64 // the earlier of the two: the wait ends then
}

const (
	eventsAtOnce = 128
	readAtOnce   = 64 << 10
	wakeSlot     = -1
	noSlot       = -1
	never        = math.MaxInt64

	// interest is edge-triggered, so that nothing needs to be said to the
	// kernel between reads and writes: see epollConn.
	interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

	// Deadlines are looked at this often in the time that they allow, so that
	// no connection needs a timer.
	looks    = 16
	rarely   = 4 * time.Second
	often    = 250 * time.Millisecond
	earliest = time.Millisecond
)

func newEventLoop(e *Endpoint, writers *writerPool) (*eventLoop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wakeFD, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = errors.Join(unix.SetNonblock(fd, true), // what os.NewFile goes by
			unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, wakeFD, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: wakeSlot}))
	}
	l := &eventLoop{endpoint: e, writers: writers, fd: fd, wakeFD: wakeFD, ended: make(chan struct{}),
		sweepAt: never, deadlinesAt: never, alarm: never}
	if err == nil {
		l.file = os.NewFile(uintptr(fd), "epoll")
		l.wait, err = l.file.SyscallConn()
	}
	if err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // fails if Go's poller does not watch it
	}
	if err != nil {
		unix.Close(wakeFD)
		if l.file != nil {
			l.file.Close()
		} else {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("epoll: %w", err)
	}
	l.ready = l.poll
	return l, nil
}

// notify has the goroutine call handlePending of a connection.
func (l *eventLoop) notify(c *epollConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.notified || l.closed {
		return
	}
	c.notified = true
	l.pending = append(l.pending, c)
	if len(l.pending) == 1 {
		l.wake()
	}
}

// wake wakes the goroutine. It does not block.
func (l *eventLoop) wake() {
	_, _ = unix.Write(l.wakeFD, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// stop ends the goroutine, and waits for it.
func (l *eventLoop) stop() {
	l.mu.Lock()
	l.stopping = true
	l.wake()
	l.mu.Unlock()
	<-l.ended
}

func (l *eventLoop) run() {
	defer close(l.ended)
	for !l.over() {
		l.waitForEvents()
		l.now = ticks()
		for i := range l.events[:l.eventCount] {
			if ev := &l.events[i]; ev.Fd != wakeSlot {
				l.conns[ev.Fd].handleEvents(ev.Events)
			}
		}
		for _, c := range l.batch {
			c.handlePending()
		}
		clear(l.batch)
		l.readOn()
		l.checkDeadlines()
	}
}

// over tells whether to end. It takes what is pending, and closes all when
// it is to end.
func (l *eventLoop) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending, l.batch = l.batch[:0], l.pending
	for _, c := range l.batch {
		c.notified = false
	}
	if !l.stopping {
		return false
	}
	l.closed = true
	l.batch, l.more, l.withDeadline = nil, nil, nil // all have ended
	unix.Close(l.wakeFD)
	l.file.Close()
	return true
}

// waitForEvents finds out what has happened. It waits if there is nothing else to do.
func (l *eventLoop) waitForEvents() {
	l.eventCount = 0
	if len(l.batch)+len(l.more) > 0 {
		l.poll(uintptr(l.fd))
		return
	}
	// An error is the end of the time to wait.
	_ = l.wait.Read(l.ready)
}

func (l *eventLoop) poll(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), l.events[:], 0)
	l.eventCount = max(n, 0)
	return l.eventCount > 0 || err == unix.EBADF
}

// add begins to watch a connection.
func (l *eventLoop) add(c *epollConn) error {
	slot := int32(len(l.conns))
	if n := len(l.free); n > 0 {
		slot, l.free = l.free[n-1], l.free[:n-1]
		l.conns[slot] = c
	} else {
		l.conns = append(l.conns, c)
	}
	c.slot = slot
	return unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, c.fd, &unix.EpollEvent{Events: interest, Fd: slot})
}

// remove forgets a connection. The kernel tells nothing of it any more.
func (l *eventLoop) remove(c *epollConn) {
	if c.slot != noSlot {
		// It fails if the connection has not been added, after all.
		_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_DEL, c.fd, nil)
		l.conns[c.slot] = nil
		l.free = append(l.free, c.slot)
	}
}

// readOn reads a piece more of each connection that has sent much.
func (l *eventLoop) readOn() {
	n := len(l.more)
	for _, c := range l.more[:n] {
		c.inMore = false
		c.read()
	}
	l.more = slices.Delete(l.more, 0, n) // which clears the tail: nothing that has ended stays in it
}

// checkDeadlines ends what has taken too long, if it is time to look.
func (l *eventLoop) checkDeadlines() {
	config := &l.endpoint.config
	if l.due(&l.sweepAt, len(l.conns) > len(l.free), min(config.HeartbeatTimeout/looks, rarely)) {
		for _, c := range l.conns {
			if c != nil && c.isSilent() {
				c.shut(silent, outbound.DropClosed)
			}
		}
	}
	if l.due(&l.deadlinesAt, len(l.withDeadline) > 0, min(config.WriteTimeout/looks, config.closeTimeout/looks, often)) {
		l.withDeadline = slices.DeleteFunc(l.withDeadline, func(c *epollConn) bool { return !c.checkDeadline() })
	}
	if alarm := min(l.sweepAt, l.deadlinesAt); alarm != l.alarm {
		l.alarm = alarm
		var at time.Time // zero for never
		if alarm != never {
			at = began.Add(time.Duration(alarm))
		}
		_ = l.file.SetReadDeadline(at)
	}
}

// due tells whether it is time to look at something, and sets the next time, if
// there is anything to look at.
func (l *eventLoop) due(at *int64, anything bool, every time.Duration) bool {
	switch {
	case !anything:
		*at = never
		return false
	case *at != never && l.now < *at:
		return false
	}
	first := *at == never
	*at = l.now + int64(max(every, earliest))
	return !first
}
