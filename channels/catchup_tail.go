package channels

import (
	"context"
	"errors"
	"slices"
)

// A client that joins with "last" is answered once it is known where the last of its
// topic's events begin: from what the hub remembers, else from the history. The workers
// that channels are brought up to date by read that too, so that a storm of such joins
// makes no more reads at a time than one of those who resume; and who waits for the same
// has it by one read.

// tail is a read of where the last count of a topic's events begin.
type tail struct {
	tailKey
	upTo    int64         // which it reaches to at least; guarded by the replayer's mu
	waiting int           // channels that want it; guarded by the replayer's mu
	done    chan struct{} // nothing is sent; closed by who has read it, once that is written:
	after   int64
	err     error
}

// tailKey is what those ask for who share a read.
type tailKey struct {
	topic string
	count int
}

// tails are those that are in the queue. The replayer's mu guards them.
type tails struct {
	asked     map[tailKey]*tail // which nobody has begun to read
	abandoned int               // in the queue, with nobody waiting
}

// errNotReplaying is what is left of a tail when the replayer has ended.
var errNotReplaying = errors.New("channels: nothing is replayed any more")

// findTail is the offset after which the last count of the topic's events begin, up to
// the log's head, or the given offset where this node has not come to it.
func (a *Actor) findTail(count int, upTo int64) (after int64, err error) {
	host, ctx := a.host, a.context()
	if upTo <= host.hub.Head() {
		if before, whole := host.hub.recentTail(a.Topic(), count); whole {
			_, kept, err := host.history.Resume(ctx, "", before)
			if kept || err != nil {
				return before, err
			}
		}
	}
	return host.hub.replayer.Load().tail(ctx, tailKey{a.Topic(), count}, upTo)
}

// tail has a worker read where the last of a topic's events begin, and waits for it.
func (r *Replayer) tail(ctx context.Context, key tailKey, upTo int64) (after int64, err error) {
	t := r.ask(key, upTo)
	select {
	case <-t.done:
		return t.after, t.err
	case <-ctx.Done():
		r.abandon(t)
		return 0, ctx.Err()
	}
}

// ask returns the read of a tail that is in the queue, or puts one there.
func (r *Replayer) ask(key tailKey, upTo int64) *tail {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tails.asked[key]
	if t == nil {
		t = &tail{tailKey: key, done: make(chan struct{})}
		if r.over {
			t.err = errNotReplaying
			close(t.done)
			return t
		}
		if r.tails.asked == nil {
			r.tails.asked = map[tailKey]*tail{}
		}
		r.tails.asked[key] = t
		r.queue = append(r.queue, errand{tail: t})
		r.ready.Signal()
	}
	t.waiting++
	t.upTo = max(t.upTo, upTo)
	return t
}

// abandon notes that a channel does not wait any more. What nobody waits for is taken
// out of the queue once that is half of it.
func (r *Replayer) abandon(t *tail) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t.waiting--; t.waiting > 0 || r.tails.asked[t.tailKey] != t {
		return
	}
	delete(r.tails.asked, t.tailKey)
	if r.tails.abandoned++; 2*r.tails.abandoned > len(r.queue) {
		r.queue = slices.DeleteFunc(r.queue, func(e errand) bool { return e.tail != nil && e.tail.waiting == 0 })
		r.tails.abandoned = 0
	}
}

// readTail reads a tail, unless nobody waits for it.
func (r *Replayer) readTail(ctx context.Context, t *tail) {
	r.mu.Lock()
	if t.waiting == 0 {
		r.tails.abandoned = max(0, r.tails.abandoned-1) // it may have been taken out before it was abandoned
		r.mu.Unlock()
		return
	}
	delete(r.tails.asked, t.tailKey)
	upTo := max(t.upTo, r.hub.Head())
	r.mu.Unlock()
	defer close(t.done)
	if err := r.hub.guard(func() { t.after, t.err = r.history.Tail(ctx, t.topic, t.count, upTo) }); err != nil {
		t.err = err
	}
}

// end has those told who wait that nobody will read for them.
func (s *tails) end() {
	for _, t := range s.asked {
		t.err = errNotReplaying
		close(t.done)
	}
	s.asked = nil
}
