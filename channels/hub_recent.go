package channels

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/ring"
)

// evictionOrder is the order in which what was routed is forgotten, of all topics
// together: the oldest first, wherever it belongs, as soon as the whole takes
// more than a number of bytes. What is remembered stands with its topic
// ([topicHistory]).
//
// Lock order: a shard's, then this one. Forgetting begins with this one, and
// takes a shard's only after it: so it comes after routing, with no lock held,
// and for a moment more is remembered than the limit, a segment for each lane.
type evictionOrder struct {
	limit int64        // set before anything is routed
	held  atomic.Int64 // bytes; changed with mu held

	mu    sync.Mutex
	order ring.Ring[remembered] // guarded by mu
}

// remembered is one segment's place in the order: the oldest of its topic, once
// its turn has come.
type remembered struct {
	topic *topic
	size  int64
}

// add puts a segment of a topic at the end. Called with the topic's lock held.
func (r *evictionOrder) add(t *topic, size int) {
	r.mu.Lock()
	r.order.Push(remembered{t, int64(size)})
	r.held.Add(int64(size))
	r.mu.Unlock()
}

// forget forgets what is too much.
func (r *evictionOrder) forget() {
	for r.held.Load() > r.limit {
		if t := r.oldest(); t != nil {
			t.shard.mu.Lock()
			t.history.forget()
			t.shard.mu.Unlock()
		}
	}
}

// oldest takes the oldest out of the order, and returns its topic; nil if
// somebody else has done so.
func (r *evictionOrder) oldest() *topic {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held.Load() <= r.limit {
		return nil
	}
	oldest := r.order.Pop()
	r.held.Add(-oldest.size)
	return oldest.topic
}

// topicHistory is the segments of one topic that are remembered. The shard's lock
// guards it.
type topicHistory struct {
	list  ring.Ring[entry] // in the order of their offsets
	since int64            // every event above this offset that was fetched is in list, or under way; it only grows
	last  int64            // the last offset routed

	erased int64 // segments that begin here or before are not remembered: see Hub.Forget
}

// entry is a segment that was routed. Its last offset stands beside it, so that
// a search does not have to go and look.
type entry struct {
	segment *outbound.Segment // nil if it was erased: since is not before it then
	last    int64
}

// add notes that a segment is being routed, and tells whether it is remembered.
// One that was under way while the topic was watched by nobody, or that comes from
// before a gap, is not: nobody is given it from here.
func (p *topicHistory) add(seg *outbound.Segment) bool {
	last := seg.Last()
	p.last = max(p.last, last)
	if seg.First() <= p.erased {
		p.since = max(p.since, last)
	}
	if last <= p.since {
		return false
	}
	p.list.Push(entry{seg, last})
	return true
}

// forget forgets the oldest. What is whole only begins later and later: what was
// skipped meanwhile may be beyond the oldest.
func (p *topicHistory) forget() { p.since = max(p.since, p.list.Pop().last) }

// after returns, at most limit of them, the segments with offsets above the
// given one that have the given formats. whole is false if some are not
// remembered.
func (p *topicHistory) after(offset int64, formats outbound.FormatSet, limit int) (segments []*outbound.Segment, whole bool) {
	if offset < p.since {
		return nil, false
	}
	n := p.list.Len()
	first := sort.Search(n, func(i int) bool { return p.list.At(i).last > offset })
	for i := first; i < min(n, first+limit); i++ {
		seg := p.list.At(i).segment
		if !seg.Has(formats) {
			return segments, len(segments) > 0
		}
		segments = append(segments, seg)
	}
	return segments, true
}

// tail is the offset before the last count of those events that are remembered, if there
// are as many. All that the topic has had since are among them, or on their way.
func (p *topicHistory) tail(count int) (before int64, whole bool) {
	for i := p.list.Len() - 1; i >= 0; i-- {
		each := p.list.At(i)
		if each.segment == nil || each.segment.First() <= p.since {
			return 0, false
		}
		n := each.segment.Len()
		if count <= n {
			return each.segment.Offset(n-count) - 1, true
		}
		count -= n
	}
	return 0, false
}
