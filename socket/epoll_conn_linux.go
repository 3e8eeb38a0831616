package socket

import (
	"bytes"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// epollWire carries a connection over a TCP socket by non-blocking system calls
// of our own. What comes is read by the goroutine of its epoll, and what goes is
// written by one of the writers; while neither has anything to do, it is nothing
// but this memory.
//
// The kernel tells of changes, once (EPOLLET): the socket has become readable or
// writable. Until a read or write has found that it is no longer, nothing more
// is said about it.
type epollWire struct {
	conn

	// Immutable after adopt.
	epoll *epoll
	fd    int

	// Guarded by epoll.mu.
	posted bool // in its inbox

	// Owned by epoll's goroutine.
	slot      int32
	lastHeard int64  // when a message or control frame came, in ticks
	rest      []byte // has come, and waits
	readable  bool   // there may be something to read
	hungUp    bool   // the client's side has ended: what is left can be read to its end
	drained   bool   // and has been
	inMore    bool   // in the epoll's list of that name
	inPressed bool   // likewise
	paused    bool   // reads nothing for now
	deaf      bool   // what comes is of no interest any more
	ended     bool

	// Guarded by conn.mu.
	severed  bool
	resume   bool  // is to be paused no longer
	told     bool  // the farewell has been written
	writing  bool  // a writer is at it: fd stays open
	writable bool  // has become so since that writer began
	blocked  bool  // what is left is written when it is writable again
	closed   bool  // fd is closed, or will be by the writer that is at it
	hurried  bool  // closeTimeout is what it has, and no more
	deadline int64 // in ticks, when the client must have accepted or ended something; 0 if there is nothing

	// Owned by the queue of writers and guarded by its mu, and by the writer that
	// has taken the connection off it.
	next   *epollWire // behind it
	queued int64      // in ticks, when it was put there, of a sample; else 0
	unsent *unsent    // nil if nothing is
}

// start implements wire.
func (w *epollWire) start() { w.epoll.post(w) }

// abandon implements wire.
func (w *epollWire) abandon() { _ = syscall.Close(w.fd) }

// wake implements wire.
func (w *epollWire) wake() { w.epoll.writers.push(w) }

// heard implements wire.
func (w *epollWire) heard() { w.lastHeard = w.epoll.now }

// sever implements wire.
func (w *epollWire) sever() {
	w.mu.Lock()
	w.severed = true
	w.mu.Unlock()
	w.epoll.post(w)
}

// hurry implements wire.
func (w *epollWire) hurry() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hurried = true // the writer that is at it will see it
	if soon := ticks() + int64(closeTimeout); w.deadline > soon {
		w.deadline = soon
	}
}

// allowed is how long the client has to accept a piece. Called with mu held.
func (w *epollWire) allowed() time.Duration {
	if w.hurried {
		return min(closeTimeout, w.endpoint.config.WriteTimeout)
	}
	return w.endpoint.config.WriteTimeout
}

// attend does what others have left word of. It is called by epoll's goroutine,
// as all that follows.
func (w *epollWire) attend() {
	if w.ended {
		return
	}
	if w.slot == noSlot {
		w.heard()
		if w.epoll.enter(w) != nil {
			w.end()
			return
		}
		w.take(w.rest)
	}
	w.mu.Lock()
	severed, told, resume, pressed := w.severed, w.told, w.resume, w.deadline > 0
	w.resume = false
	w.mu.Unlock()
	if pressed && !w.inPressed {
		w.inPressed = true
		w.epoll.pressed = append(w.epoll.pressed, w)
	}
	switch {
	case severed, told && w.deaf && (w.drained || w.reason() == closedByClient):
		w.end()
	case told && w.deaf:
		// Let the client read the close frame: closing while it is still sending
		// would reset the connection, and with it what it has not read yet.
		// Reading it to its end is the end.
		_ = syscall.Shutdown(w.fd, syscall.SHUT_WR)
	case resume:
		w.paused = false
		w.take(w.rest)
		w.read()
	}
}

// happened deals with what the kernel tells.
func (w *epollWire) happened(events uint32) {
	const (
		broken = syscall.EPOLLERR | syscall.EPOLLHUP
		ending = broken | syscall.EPOLLRDHUP
	)
	if events&(syscall.EPOLLOUT|broken) != 0 {
		w.unblock()
	}
	w.hungUp = w.hungUp || events&ending != 0
	w.readable = w.readable || events&(syscall.EPOLLIN|ending) != 0
	if events&broken != 0 && w.paused {
		w.end()
		return
	}
	w.read()
}

// read reads what has come, up to a point.
func (w *epollWire) read() {
	p := w.epoll
	for range readsAtOnce {
		if !w.readable || w.paused || w.ended {
			return
		}
		n, err := readNow(w.fd, p.buffer[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			w.readable = false
			return
		case n == 0 && err == 0 && w.deaf && !w.wasTold():
			w.readable, w.drained = false, true // and is told all the same
			return
		case n <= 0:
			w.part(farewell{reason: closedLost})
			return
		}
		w.readable = w.hungUp || n == len(p.buffer)
		w.take(p.buffer[:n])
	}
	if w.readable && !w.paused && !w.ended && !w.inMore {
		w.inMore = true
		p.more = append(p.more, w)
	}
}

// readsAtOnce is how many times in a row one connection is read from.
const readsAtOnce = 2

// take hands on what has come, or what has waited.
func (w *epollWire) take(in []byte) {
	w.rest = nil
	if w.deaf || len(in) == 0 {
		return
	}
	rest, first, err := w.receive(in)
	switch {
	case err != nil:
		w.part(farewellFor(err))
	case first.do != nil:
		w.pause(rest)
		w.session.group.Go(func() {
			first.perform()
			w.goOn()
		})
	case first.wait > 0:
		w.pause(rest)
		time.AfterFunc(first.wait, w.goOn)
	}
}

// pause stops reading until goOn is called. A client that sends on fills the
// buffers of the kernel's, and then waits.
func (w *epollWire) pause(rest []byte) {
	w.paused = true
	w.rest = bytes.Clone(rest)
}

// goOn ends a pause. It may be called by anybody.
func (w *epollWire) goOn() {
	w.mu.Lock()
	w.resume = true
	w.mu.Unlock()
	w.epoll.post(w)
}

// part ends the connection, or at least begins to if the client is to be told
// why.
func (w *epollWire) part(last farewell) {
	if last.reason != closedLost && w.shut(last, "") {
		w.deaf = true
		return
	}
	w.end()
}

// end is the end of reading.
func (w *epollWire) end() {
	if w.ended {
		return
	}
	w.ended = true
	w.begin(closedLost)
	w.outlet.Close(nil, channels.DropClosed)
	w.epoll.leave(w)
	w.rest, w.frames = nil, frameReader{}
	w.mu.Lock()
	w.closed = true
	var left *unsent
	if !w.writing {
		left = w.leaveUnsent()
		_ = syscall.Close(w.fd)
	}
	w.mu.Unlock()
	if left != nil {
		w.lost(&left.batch)
	}
	go w.finish()
}

// isSilent tells whether nothing has come for too long. It reads what is there
// before it judges: after a pause of the process that is not what has been heard.
// What waits for us is no silence.
func (w *epollWire) isSilent() bool {
	timeout := int64(w.endpoint.config.HeartbeatTimeout)
	if w.epoll.now-w.lastHeard <= timeout || w.paused {
		return false
	}
	w.readable = true
	w.read()
	return !w.ended && !w.paused && !w.inMore && w.epoll.now-w.lastHeard > timeout
}

// underPressure ends the connection if its deadline has passed. It returns
// false if there is none. Like isSilent, it first looks at what the client has
// done meanwhile.
func (w *epollWire) underPressure() bool {
	w.mu.Lock()
	deadline, told, blocked := w.deadline, w.told, w.blocked
	w.mu.Unlock()
	late := deadline > 0 && deadline <= w.epoll.now && !w.ended
	switch {
	case late && told:
		w.readable = true
		w.read() // the end of its side, perhaps
	case late && blocked && isWritable(w.fd):
		w.unblock()
		late = false
	case late && !blocked:
		late = false // a writer is at it, or will be
	}
	w.inPressed = deadline > 0 && !w.ended
	if w.inPressed && late {
		w.cut(closedTooSlow, channels.DropTooSlow)
	}
	return w.inPressed
}

func (w *epollWire) wasTold() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

func (w *epollWire) reason() closeReason {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cause
}
