package outbound

import (
	"sync"
	"time"
)

// entry is one piece of a queue: frames of one or more messages, back to back.
// It is filled in where it stands in the queue, and read there: it takes two
// cache lines, and to copy it costs as much as all the rest of a delivery.
type entry struct {
	frames   []byte
	segment  *Segment // what frames are a part of, nil if they are not
	first    int32    // index of the first message in segment
	messages int32
	held     int       // bytes charged: all that holding frames keeps in memory
	queued   moment    // when it was routed
	oldest   int64     // when its oldest message was inserted, in nanoseconds; 0 if not in the log, or replayed
	key      uint64    // hash of the message's key, where that counts; see mailbox_latest.go
	counters *counters // where it is counted
	kind     kind
	presence bool // it tells who is on the topic; see mailbox_presence.go
}

// fill makes it one message of its own.
func (e *entry) fill(k kind, s *counters, frame []byte) {
	e.kind, e.counters, e.frames, e.messages, e.held, e.queued = k, s, frame, 1, len(frame), momentOf(time.Now())
}

// moment is a time as an entry keeps it: since the program began, and without a
// pointer, so that queues are cheap to move.
type moment time.Duration

var beginning = time.Now()

func momentOf(t time.Time) moment { return moment(t.Sub(beginning)) }

func (m moment) time() time.Time { return beginning.Add(time.Duration(m)) }

// kind decides how an entry is charged, and whether it outlives its channel.
type kind uint8

const (
	shared  kind = iota // for all on the topic
	private             // pushed to this client by its channel
	control             // replies, and the beginning and end of channels: never shed
)

// queue is a FIFO of entries, some of which leave out of turn. Who owns it sees
// to its bounds. The first and the last of its entries are never gaps. An entry
// has a number by which it is found again, and an index: how many are before
// it.
type queue struct {
	slots []entry // a power of two of them, or none; see takeSlots
	first int     // the first entry is slots[first]
	n     int     // entries, gaps included
	gaps  int     // entries that have left out of turn: they are zero
	base  int     // the number of the first entry
}

func (q *queue) len() int { return q.n - q.gaps }

// at is the entry with index i, until the next push.
func (q *queue) at(i int) *entry { return &q.slots[(q.first+i)&(len(q.slots)-1)] }

// last is the entry queued last, nil if there is none.
func (q *queue) last() *entry {
	if q.n == 0 {
		return nil
	}
	return q.at(q.n - 1)
}

// push makes room for an entry at the end. It is zero, and to be filled in
// before anything else is done with the queue.
func (q *queue) push() *entry {
	if q.n == len(q.slots) {
		q.grow()
	}
	q.n++
	return q.at(q.n - 1)
}

func (q *queue) grow() {
	slots := takeSlots(q.n + 1)
	for i := range q.n {
		slots[i] = *q.at(i)
	}
	clear(q.slots)
	leaveSlots(q.slots)
	q.slots, q.first = slots, 0
}

// drop removes the first entry.
func (q *queue) drop() { q.remove(0) }

// remove takes out the entry with index i.
func (q *queue) remove(i int) {
	*q.at(i) = entry{}
	q.gaps++
	if q.len() == 0 {
		q.reset()
		return
	}
	for q.at(0).gap() {
		q.first = (q.first + 1) & (len(q.slots) - 1)
		q.n--
		q.base++
		q.gaps--
	}
	for q.last().gap() {
		q.n--
		q.gaps--
	}
}

// oldest is the index of the oldest entry that may be shed.
func (q *queue) oldest() (i int, ok bool) {
	for i := range q.n {
		if e := q.at(i); e.kind != control && !e.gap() {
			return i, true
		}
	}
	return 0, false
}

// sparse tells whether most of the queue is gaps.
func (q *queue) sparse() bool { return q.gaps > q.len()+idleSlots }

// close closes the gaps, which gives the entries new numbers.
func (q *queue) close() {
	n := 0
	for i := range q.n {
		if e := q.at(i); !e.gap() {
			if i > n {
				*q.at(n), *e = *e, entry{}
			}
			n++
		}
	}
	q.n, q.gaps = n, 0
}

// reset empties a queue in which only gaps are left.
func (q *queue) reset() {
	if len(q.slots) > idleSlots {
		leaveSlots(q.slots)
		q.slots = nil
	}
	q.first, q.n, q.gaps = 0, 0, 0
}

func (e *entry) gap() bool { return e.messages == 0 }

// idleSlots is how many slots an empty queue keeps at most. Most channels of an
// idle connection never need more than one.
const idleSlots = 4

// Queues borrow their slots, four times as many from step to step, and give
// back what they do not need any more: what one client's burst has made is used
// for the next one's. What nobody has used for a while the garbage collector
// frees.
var slots1, slots4, slots16, slots64, slots256, slots1024 sync.Pool

// takeSlots returns empty slots, at least n.
func takeSlots(n int) []entry {
	switch {
	case n <= 1:
		return borrow[[1]entry](&slots1)[:]
	case n <= 4:
		return borrow[[4]entry](&slots4)[:]
	case n <= 16:
		return borrow[[16]entry](&slots16)[:]
	case n <= 64:
		return borrow[[64]entry](&slots64)[:]
	case n <= 256:
		return borrow[[256]entry](&slots256)[:]
	case n <= 1024:
		return borrow[[1024]entry](&slots1024)[:]
	}
	size := 2048
	for size < n {
		size *= 2
	}
	return make([]entry, size)
}

func borrow[T any](pool *sync.Pool) *T {
	if slots, ok := pool.Get().(*T); ok {
		return slots
	}
	return new(T)
}

// leaveSlots gives slots back, which are empty.
func leaveSlots(s []entry) {
	switch len(s) {
	case 1:
		slots1.Put((*[1]entry)(s))
	case 4:
		slots4.Put((*[4]entry)(s))
	case 16:
		slots16.Put((*[16]entry)(s))
	case 64:
		slots64.Put((*[64]entry)(s))
	case 256:
		slots256.Put((*[256]entry)(s))
	case 1024:
		slots1024.Put((*[1024]entry)(s))
	}
}
