package client

import (
	"context"
	"sync"
)

const (
	// QueueEvents is how many events of a topic wait for the program at most.
	QueueEvents = 256
	// QueueBytes is how large their payloads are together at most, but for one that is
	// alone.
	QueueBytes = 4 << 20
)

// queue is what waits for the program's loop over a topic: the client's loop puts in, the
// program's takes out.
type queue struct {
	// The program's loops send without waiting when there is room again; the client's.
	room chan<- struct{}
	// The client's loop sends without waiting, one that waits in next receives. It has room.
	wake chan struct{}

	mu       sync.Mutex
	items    []queued // from first on
	first    int
	bytes    int
	lagging  bool  // what came since was dropped
	caughtUp bool  // and the program has taken all that came before: for the client's loop
	err      error // why no more come, once they do not
}

// queued is an event, or a reset between two.
type queued struct {
	event Event
	reset *ResetError
}

func (q *queue) init(room chan<- struct{}) {
	q.room, q.wake = room, make(chan struct{}, 1)
}

// put takes an event in, if there is room. If not, and drop is set, the queue takes no more
// until [queue.catchUp].
func (q *queue) put(e Event, drop bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	held := len(q.items) - q.first
	if held > 0 && (held >= QueueEvents || q.bytes+len(e.Payload) > QueueBytes) {
		q.lagging = q.lagging || drop
		return false
	}
	q.append(queued{event: e})
	return true
}

// reset notes one. Those that follow each other become one.
func (q *queue) reset(r *ResetError) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.items); n > q.first && q.items[n-1].reset != nil {
		before := *q.items[n-1].reset
		before.To = r.To
		q.items[n-1].reset = &before
		return
	}
	q.append(queued{reset: r})
}

func (q *queue) append(i queued) {
	if q.first > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.first:])
		clear(q.items[n:])
		q.items, q.first = q.items[:n], 0
	}
	q.items = append(q.items, i)
	q.bytes += len(i.event.Payload)
	q.tell(q.wake)
}

// end says why no more come. What waits is still taken.
func (q *queue) end(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
	q.tell(q.wake)
}

func (q *queue) tell(signal chan<- struct{}) {
	select {
	case signal <- struct{}{}:
	default:
	}
}

// catchUp tells, once, that all has been taken from a queue that had dropped some.
func (q *queue) catchUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.caughtUp
	q.caughtUp = false
	return was
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) - q.first
}

// next waits for what comes next. A program that leaves finds what waited no more.
func (q *queue) next(ctx context.Context) (queued, error) {
	for {
		if ctx.Err() != nil {
			return queued{}, context.Cause(ctx)
		}
		next, ok, err := q.take()
		if ok || err != nil {
			return next, err
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

func (q *queue) take() (next queued, ok bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == q.first || q.err == ErrLeft {
		return queued{}, false, q.err
	}
	next = q.items[q.first]
	q.items[q.first] = queued{}
	q.first++
	q.bytes -= len(next.event.Payload)
	if q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
		if q.lagging {
			q.lagging, q.caughtUp = false, true
		}
	}
	q.tell(q.room)
	return next, true, nil
}
