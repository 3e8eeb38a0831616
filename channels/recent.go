package channels

import (
	"sync"
	"sync/atomic"
)

// recent remembers what was routed last, of all topics together, within a
// number of bytes. Each topic keeps its own part in order; when the whole is
// full, the oldest is forgotten, wherever it belongs.
type recent struct {
	limit int // set before anything is routed

	mu   sync.Mutex
	held int     // bytes; guarded by mu
	fifo []*past // oldest first; guarded by mu
	head int     // entries of fifo before head have been forgotten; guarded by mu
}

// past is a segment that was routed, as long as it is remembered.
type past struct {
	segment atomic.Pointer[Segment] // nil once forgotten
	size    int
	last    int64 // the segment's last offset
}

// remember adds a segment, and forgets others for it. A segment that has no
// room at all is forgotten at once.
func (r *recent) remember(seg *Segment) *past {
	p := &past{size: seg.size(), last: seg.Last()}
	p.segment.Store(seg)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fifo = append(r.fifo, p)
	r.held += p.size
	for r.held > r.limit && r.head < len(r.fifo) {
		oldest := r.fifo[r.head]
		r.fifo[r.head] = nil
		r.head++
		r.held -= oldest.size
		oldest.segment.Store(nil)
	}
	if r.head > len(r.fifo)/2 {
		n := copy(r.fifo, r.fifo[r.head:])
		clear(r.fifo[n:])
		r.fifo, r.head = r.fifo[:n], 0
	}
	return p
}

// pasts is one topic's part of what is remembered. The shard's lock guards it.
type pasts struct {
	list  []*past
	since int64 // every segment routed with offsets above this one is in list, or was forgotten
	last  int64 // the last offset routed
}

// add notes that a segment is being routed.
func (p *pasts) add(seg *Segment, r *recent) {
	p.trim()
	p.list = append(p.list, r.remember(seg))
	p.last = max(p.last, seg.Last())
}

// trim drops what was forgotten, which is always the oldest.
func (p *pasts) trim() {
	n := 0
	for n < len(p.list) && p.list[n].segment.Load() == nil {
		p.since = p.list[n].last
		n++
	}
	if n > 0 {
		rest := copy(p.list, p.list[n:])
		clear(p.list[rest:])
		p.list = p.list[:rest]
	}
}

// after returns, at most limit of them, the segments with offsets above the
// given one that have the given formats. whole is false if some are not
// remembered.
func (p *pasts) after(offset int64, formats FormatSet, limit int) (segments []*Segment, whole bool) {
	if offset < p.since {
		return nil, false
	}
	for _, one := range p.list {
		if one.last <= offset {
			continue
		}
		seg := one.segment.Load()
		if seg == nil || !seg.has(formats) {
			return segments, len(segments) > 0
		}
		if segments = append(segments, seg); len(segments) == limit {
			break
		}
	}
	return segments, true
}

// size is how much memory the segment holds.
func (s *Segment) size() int {
	n := 8 * len(s.offsets)
	for i := range s.encodings {
		n += len(s.encodings[i].data) + 4*len(s.encodings[i].ends)
	}
	return n
}

// has tells whether the segment was encoded in all of these formats.
func (s *Segment) has(formats FormatSet) bool {
	for i := range s.encodings {
		formats &^= 1 << s.encodings[i].format
	}
	return formats == 0
}
