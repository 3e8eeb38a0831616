package channels

import "time"

// entry is one piece of a queue: frames of one or more messages, back to back.
type entry struct {
	frames   []byte
	segment  *Segment // what frames are a part of, nil if they are not
	first    int32    // index of the first message in segment
	messages int32
	held     int     // bytes charged: all that holding frames keeps in memory
	queued   moment  // when it was routed
	oldest   int64   // when its oldest message was inserted, in nanoseconds; 0 if not in the log
	key      uint64  // print of the message's key, where that counts; see latest.go
	series   *series // where it is counted
	kind     kind
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

// idleCapacity is the capacity that an empty queue keeps. Most channels of an
// idle connection never need more.
const idleCapacity = 4

// queue is a FIFO of entries, some of which leave out of turn. Who owns it sees
// to its bounds. The first and the last of entries[head:] are never gaps.
type queue struct {
	entries []entry
	head    int // entries before head have been taken
	gaps    int // entries from head on that have left out of turn: they are zero
	base    int // the number of entries[0], by which entries are found again
}

func (q *queue) len() int { return len(q.entries) - q.head - q.gaps }

// last is the entry queued last, nil if there is none.
func (q *queue) last() *entry {
	if len(q.entries) == q.head {
		return nil
	}
	return &q.entries[len(q.entries)-1]
}

// push returns the entry's number.
func (q *queue) push(e *entry) int {
	if q.head > 0 && len(q.entries) == cap(q.entries) {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.base += q.head
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, *e)
	return q.base + len(q.entries) - 1
}

func (q *queue) pop() entry { return q.remove(q.head) }

// remove takes out the entry with index i.
func (q *queue) remove(i int) entry {
	e := q.entries[i]
	q.entries[i] = entry{}
	q.gaps++
	if q.len() == 0 {
		q.reset()
		return e
	}
	for q.entries[q.head].gap() {
		q.head++
		q.gaps--
	}
	for q.last().gap() {
		q.entries = q.entries[:len(q.entries)-1]
		q.gaps--
	}
	return e
}

// oldest is the index of the oldest entry that may be shed.
func (q *queue) oldest() (i int, ok bool) {
	for i := q.head; i < len(q.entries); i++ {
		if e := &q.entries[i]; e.kind != control && !e.gap() {
			return i, true
		}
	}
	return 0, false
}

// sparse tells whether most of the queue is gaps.
func (q *queue) sparse() bool { return q.gaps > q.len()+idleCapacity }

// close closes the gaps, which gives the entries new numbers.
func (q *queue) close() {
	n := 0
	for i := q.head; i < len(q.entries); i++ {
		if !q.entries[i].gap() {
			q.entries[n] = q.entries[i]
			n++
		}
	}
	clear(q.entries[n:])
	q.entries, q.head, q.gaps = q.entries[:n], 0, 0
}

func (q *queue) reset() {
	if cap(q.entries) > idleCapacity {
		q.entries = nil
	}
	q.entries, q.head, q.gaps = q.entries[:0], 0, 0
}

func (e *entry) gap() bool { return e.messages == 0 }
