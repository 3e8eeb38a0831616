package channels

import "time"

// entry is one piece of a queue: frames of one or more messages, back to back.
type entry struct {
	frames   []byte
	messages int
	held     int       // bytes charged: all that holding frames keeps in memory
	queued   time.Time // when it was routed
	oldest   time.Time // when its oldest message was inserted; zero if not in the log
	kind     kind
}

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

// queue is a FIFO of entries. Who owns it sees to its bounds.
type queue struct {
	entries []entry
	head    int // entries before head have been taken
}

func (q *queue) len() int { return len(q.entries) - q.head }

func (q *queue) push(e entry) {
	if q.head > 0 && len(q.entries) == cap(q.entries) {
		n := copy(q.entries, q.entries[q.head:])
		clear(q.entries[n:])
		q.entries, q.head = q.entries[:n], 0
	}
	q.entries = append(q.entries, e)
}

func (q *queue) pop() entry {
	e := q.entries[q.head]
	q.entries[q.head] = entry{}
	q.head++
	if q.head == len(q.entries) {
		q.reset()
	}
	return e
}

// dropOldest removes the oldest entry that may be shed.
func (q *queue) dropOldest() (e entry, ok bool) {
	for i := q.head; i < len(q.entries); i++ {
		if q.entries[i].kind == control {
			continue
		}
		e = q.entries[i]
		copy(q.entries[q.head+1:i+1], q.entries[q.head:i])
		q.entries[q.head] = entry{}
		if q.head++; q.head == len(q.entries) {
			q.reset()
		}
		return e, true
	}
	return entry{}, false
}

func (q *queue) reset() {
	if cap(q.entries) > idleCapacity {
		q.entries = nil
	}
	q.entries, q.head = q.entries[:0], 0
}
