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

	"github.com/sluicehq/sluice/channels"
)

// epoll is an epoll instance, and the goroutine that serves its connections: it
// reads from all of them in turn, and sees to it that each ends in time. Only
// that goroutine enters and ends connections; others leave word with post.
//
// While nothing happens, it waits in Go's poller, which watches the epoll
// instance as it watches any file: no thread is blocked.
type epoll struct {
	// Immutable after newEpoll.
	endpoint *Endpoint
	writers  *writers
	fd       int
	file     *os.File // fd, for Go's poller
	wait     syscall.RawConn
	bell     int                // an eventfd that says that there is something in the inbox
	ready    func(uintptr) bool // poll, made once
	ended    chan struct{}      // closed by run

	mu sync.Mutex

	// Guarded by mu.
	inbox    []*epollWire // connections that want attention; each once
	stopping bool         // run is to end
	deaf     bool         // run has ended

	// Owned by run.
	now      int64 // ticks
	events   [eventsAtOnce]unix.EpollEvent
	happened int          // events that the last poll has found
	called   []*epollWire // the inbox that is being worked off
	wires    []*epollWire // by slot; nil where it is free
	free     []int32      // slots
	more     []*epollWire // of which not all has been read that has come
	pressed  []*epollWire // that have to do something by some time
	buffer   [readAtOnce]byte
	sweepAt  int64 // when to look for the silent; never if there are no connections
	pressAt  int64 // when to look at the pressed; never if there are none
	alarm    int64 // the earlier of the two: the wait ends then
}

const (
	eventsAtOnce = 128
	readAtOnce   = 64 << 10
	bellSlot     = -1
	noSlot       = -1
	never        = math.MaxInt64

	// interest is edge-triggered, so that nothing needs to be said to the
	// kernel between reads and writes: see epollWire.
	interest = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

	// Deadlines are looked at this often in the time that they allow, so that
	// no connection needs a timer.
	looks    = 16
	rarely   = 4 * time.Second
	often    = 250 * time.Millisecond
	earliest = time.Millisecond
)

func newEpoll(e *Endpoint, w *writers) (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err == nil {
		err = errors.Join(unix.SetNonblock(fd, true), // what os.NewFile goes by
			unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: bellSlot}))
	}
	p := &epoll{endpoint: e, writers: w, fd: fd, bell: bell, ended: make(chan struct{}),
		sweepAt: never, pressAt: never, alarm: never}
	if err == nil {
		p.file = os.NewFile(uintptr(fd), "epoll")
		p.wait, err = p.file.SyscallConn()
	}
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails if Go's poller does not watch it
	}
	if err != nil {
		unix.Close(bell)
		if p.file != nil {
			p.file.Close()
		} else {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p.ready = p.poll
	return p, nil
}

// post has the goroutine attend to a connection.
func (p *epoll) post(w *epollWire) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.posted || p.deaf {
		return
	}
	w.posted = true
	p.inbox = append(p.inbox, w)
	if len(p.inbox) == 1 {
		p.ring()
	}
}

// ring wakes the goroutine. It does not block.
func (p *epoll) ring() {
	_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// stop ends the goroutine, and waits for it.
func (p *epoll) stop() {
	p.mu.Lock()
	p.stopping = true
	p.ring()
	p.mu.Unlock()
	<-p.ended
}

func (p *epoll) run() {
	defer close(p.ended)
	for !p.over() {
		p.listen()
		p.now = ticks()
		for i := range p.events[:p.happened] {
			if ev := &p.events[i]; ev.Fd != bellSlot {
				p.wires[ev.Fd].happened(ev.Events)
			}
		}
		for _, w := range p.called {
			w.attend()
		}
		clear(p.called)
		p.readOn()
		p.lookAround()
	}
}

// over tells whether to end. It takes what is in the inbox, and closes all when
// it is to end.
func (p *epoll) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inbox, p.called = p.called[:0], p.inbox
	for _, w := range p.called {
		w.posted = false
	}
	if !p.stopping {
		return false
	}
	p.deaf = true
	p.called, p.more, p.pressed = nil, nil, nil // all have ended
	unix.Close(p.bell)
	p.file.Close()
	return true
}

// listen finds out what has happened. It waits if there is nothing else to do.
func (p *epoll) listen() {
	p.happened = 0
	if len(p.called)+len(p.more) > 0 {
		p.poll(uintptr(p.fd))
		return
	}
	// An error is the end of the time to wait.
	_ = p.wait.Read(p.ready)
}

func (p *epoll) poll(fd uintptr) bool {
	n, err := unix.EpollWait(int(fd), p.events[:], 0)
	p.happened = max(n, 0)
	return p.happened > 0 || err == unix.EBADF
}

// enter begins to listen to a connection.
func (p *epoll) enter(w *epollWire) error {
	slot := int32(len(p.wires))
	if n := len(p.free); n > 0 {
		slot, p.free = p.free[n-1], p.free[:n-1]
		p.wires[slot] = w
	} else {
		p.wires = append(p.wires, w)
	}
	w.slot = slot
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, w.fd, &unix.EpollEvent{Events: interest, Fd: slot})
}

// leave forgets a connection. Nothing is heard of it any more.
func (p *epoll) leave(w *epollWire) {
	if w.slot != noSlot {
		// It fails if the connection has not been entered, after all.
		_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, w.fd, nil)
		p.wires[w.slot] = nil
		p.free = append(p.free, w.slot)
	}
}

// readOn reads a piece more of each connection that has sent much.
func (p *epoll) readOn() {
	n := len(p.more)
	for _, w := range p.more[:n] {
		w.inMore = false
		w.read()
	}
	p.more = slices.Delete(p.more, 0, n) // which clears the tail: nothing that has ended stays in it
}

// lookAround ends what has taken too long, if it is time to look.
func (p *epoll) lookAround() {
	c := &p.endpoint.config
	if p.due(&p.sweepAt, len(p.wires) > len(p.free), min(c.HeartbeatTimeout/looks, rarely)) {
		for _, w := range p.wires {
			if w != nil && w.isSilent() {
				w.shut(silent, channels.DropClosed)
			}
		}
	}
	if p.due(&p.pressAt, len(p.pressed) > 0, min(c.WriteTimeout/looks, closeTimeout/looks, often)) {
		p.pressed = slices.DeleteFunc(p.pressed, func(w *epollWire) bool { return !w.underPressure() })
	}
	if alarm := min(p.sweepAt, p.pressAt); alarm != p.alarm {
		p.alarm = alarm
		var at time.Time // zero for never
		if alarm != never {
			at = began.Add(time.Duration(alarm))
		}
		_ = p.file.SetReadDeadline(at)
	}
}

// due tells whether it is time to look at something, and sets the next time, if
// there is anything to look at.
func (p *epoll) due(at *int64, anything bool, every time.Duration) bool {
	switch {
	case !anything:
		*at = never
		return false
	case *at != never && p.now < *at:
		return false
	}
	first := *at == never
	*at = p.now + int64(max(every, earliest))
	return !first
}
