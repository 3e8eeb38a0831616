package socket

import (
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// writerPool writes what is outbound: a bounded number of goroutines, which exist only while there is something to write. A connection that has
// something waits at the end of a queue, and what is routed to it meanwhile
// joins the same write. One that the client does not read from leaves the queue
// until it is writable again.
type writerPool struct {
	limit int            // goroutines; set before the first push
	group sync.WaitGroup // of them

	mu sync.Mutex

	// Guarded by mu.
	first   *epollConn // the queue, linked by next; each connection is in it once
	last    *epollConn
	length  int
	pushed  int
	running int       // goroutines
	resting []*writer // what they work with, of those that do not run
}

const (
	turnBytes  = 64 << 10 // written to a connection before the next one has its turn
	turnPieces = 64       // taken from a connection at a time
	takenOff   = 16       // connections that a writer takes off the queue at once
	sampled    = 16       // one in so many has its wait in the queue measured
)

// push puts a connection at the end of the queue. It does not block.
func (q *writerPool) push(w *epollConn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pushed++; q.pushed%sampled == 0 {
		w.queued = ticks()
	}
	q.add(w, w, 1)
	if q.running == q.limit {
		return
	}
	q.running++
	var made *writer
	if n := len(q.resting); n > 0 {
		made, q.resting = q.resting[n-1], q.resting[:n-1]
	} else {
		made = newWriter(q)
	}
	q.group.Add(1)
	go made.loop()
}

// add puts n linked connections at the end of the queue. Called with mu held.
func (q *writerPool) add(first, last *epollConn, n int) {
	q.length += n
	if q.first == nil {
		q.first = first
	} else {
		q.last.next = first
	}
	q.last = last
}

// take puts those that have been written to, which are linked, at the end of the
// queue again, and takes the next connections off its beginning. It returns
// false if there is none: the writer rests.
func (q *writerPool) take(w *writer) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.first != nil {
		q.add(w.first, w.last, w.back)
		w.first, w.last, w.back = nil, nil, 0
	}
	if q.first == nil {
		q.running--
		clear(w.vector.pieces[:]) // holds on to nothing while it rests
		clear(w.fresh.batch.Frames)
		q.resting = append(q.resting, w)
		return false
	}
	for range min(max(q.length/q.limit, 1), takenOff) { // the other writers want some, too
		c := q.first
		q.first, c.next = c.next, nil
		w.turns = append(w.turns, c)
	}
	if q.first == nil {
		q.last = nil
	}
	q.length -= len(w.turns)
	return true
}

// writer is one goroutine's means.
type writer struct {
	queue       *writerPool
	loop        func() // run, made once
	turns       []*epollConn
	first, last *epollConn // those of the turns that are to go back to the queue, linked
	back        int        // how many
	fresh       unsent
	vector      vector
}

func newWriter(q *writerPool) *writer {
	w := &writer{queue: q, turns: make([]*epollConn, 0, takenOff)}
	w.loop = w.run
	return w
}

func (w *writer) run() {
	defer w.queue.group.Done()
	for w.queue.take(w) {
		for _, c := range w.turns {
			if w.serve(c) {
				if w.first == nil {
					w.first = c
				} else {
					w.last.next = c
				}
				w.last = c
				w.back++
			}
		}
		clear(w.turns)
		w.turns = w.turns[:0]
		runtime.Gosched() // whoever routes shall not wait for a thousand writes
	}
}

// unsent is a batch, and how far it has been written.
type unsent struct {
	batch  outbound.WriteBatch
	began  time.Time // when it was taken
	since  int       // bytes written since the deadline was set
	frame  int       // that comes next, or is being written
	offset int       // written of that
}

// advance notes that n bytes more have been written. It returns false if nothing
// is left.
func (u *unsent) advance(n int) bool {
	u.since += n
	n += u.offset
	for u.frame < len(u.batch.Frames) && n >= len(u.batch.Frames[u.frame]) {
		n -= len(u.batch.Frames[u.frame])
		u.frame++
	}
	u.offset = n
	return u.frame < len(u.batch.Frames)
}

// serve gives a connection its turn. It returns false if it needs no other one
// for now: there was nothing to write, or nothing can be.
func (w *writer) serve(c *epollConn) (again bool) {
	u := c.unsent
	if u == nil {
		u = &w.fresh
		if !c.outbound.Take(&u.batch, turnBytes, turnPieces) {
			return false
		}
		u.began, u.since, u.frame, u.offset = time.Now(), 0, 0, 0
	}
	m := &c.endpoint.metrics
	if c.queued > 0 {
		m.writeWait.Observe(time.Duration(ticks() - c.queued))
		c.queued = 0
	}
	if !c.beginWriting() {
		c.lost(&u.batch)
		c.unsent = nil
		return false
	}
	outcome := w.write(c.fd, u)
	if outcome == written {
		m.wrote(&u.batch, u.began)
		c.unsent = nil
	} else if u == &w.fresh { // it becomes the connection's
		u = new(unsent)
		*u, w.fresh = w.fresh, unsent{}
		c.unsent = u
	}
	return c.endWriting(outcome, u)
}

// outcome is how a turn ends.
type outcome uint8

const (
	written outcome = iota // all of the batch
	begun                  // as much as one turn allows
	full                   // the client has to read first
	failed
)

// write writes a turn's worth of what is unsent.
func (w *writer) write(fd int, u *unsent) outcome {
	w.vector.fill(u)
	for sent := 0; ; {
		n, err := w.vector.send(fd)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return full
		case err != 0:
			return failed
		case !u.advance(n):
			return written
		}
		if sent += n; sent >= turnBytes {
			return begun
		}
		w.vector.fill(u)
	}
}
