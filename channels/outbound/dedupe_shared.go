package outbound

import "sync"

// Channels of one topic that have been sent the same remember the same. So they have one
// window in common, and what a segment brings is looked up once for all of them: whoever
// gets it first has the window take it, and the others are told what came of it.
//
// All that a channel needs of the others is that they have been sent what it has been sent,
// since it began or for as long as anything is remembered: where that ends, it goes on with a window
// of its own, which is as the common one was. That is so when it sheds something, falls
// behind, or looks at its messages itself; when it has once more what others have, as
// is found by comparing all of it, it has it in common with them again.

// SharedWindows are those of one topic. Its zero value is ready. All methods may be called
// concurrently, with the locks of connections held.
type SharedWindows struct {
	mu   sync.Mutex
	list []*sharedWindow // guarded by mu, and so is all within
}

// mostShared is how many windows channels of one topic may look for to share: each has
// another rule, or other messages in it. A channel that finds none keeps its own.
const mostShared = 8

// sharedWindow is a window that channels have in common. Each of these has taken all that
// the window has, but for its last segment: that some may not have come to yet.
type sharedWindow struct {
	of      *SharedWindows
	listed  bool // in of.list
	members int  // channels
	behind  int  // those of them that have not taken the last segment

	window   *dedupeWindow // with the last segment
	version  uint64        // how many segments it has taken
	segment  uint64        // the number of the last
	first    int           // the first message of it that was taken
	withheld []int         // which of its messages repeat others
	journal  dedupeJournal // what the last segment has changed
}

// dedupeJournal is what a window was before its last segment.
type dedupeJournal struct {
	first, end int
	clock      int64
	aged       []fingerprint // that were forgotten: from first on
	replaced   []replaced
}

// replaced is a message that another one, of the same hash, has taken the place of.
type replaced struct {
	at   int // in the ring
	hash uint64
}

// begin has the journal begin with a window as it is.
func (j *dedupeJournal) begin(s *dedupeWindow) {
	j.first, j.end, j.clock = s.first, s.end, s.clock
	j.aged, j.replaced = emptied(j.aged), emptied(j.replaced)
}

// emptied is a list without what is in it, and without its memory if that is much: few
// segments are large.
func emptied[T any](list []T) []T {
	const keeps = 64
	if cap(list) > keeps {
		return nil
	}
	return list[:0]
}

// before is a copy of the window as it was before its last segment.
func (w *sharedWindow) before() *dedupeWindow {
	j, s := &w.journal, w.window
	list := make([]fingerprint, 0, j.end-j.first)
	list = append(list, j.aged[:min(len(j.aged), j.end-j.first)]...)
	for i := j.first + len(list); i < j.end; i++ {
		list = append(list, s.ring[i&(len(s.ring)-1)])
	}
	for _, r := range j.replaced {
		if j.first <= r.at && r.at < j.end {
			list[r.at-j.first].hash = r.hash
		}
	}
	old := &dedupeWindow{by: s.by, window: s.window, limit: s.limit, clock: j.clock}
	old.fill(list)
	return old
}

// take has the window take the messages of a segment from index first on.
func (w *sharedWindow) take(seg *Segment, first int) {
	s := w.window
	w.journal.begin(s)
	s.journal = &w.journal
	fingerprints := s.of(seg)
	w.withheld = emptied(w.withheld)
	for i := first; i < seg.Len(); i++ {
		switch d := fingerprints.fingerprint(i); {
		case d.hash == noHash:
		case s.repeats(d):
			w.withheld = append(w.withheld, i)
		default:
			s.note(d)
		}
	}
	s.journal = nil
	w.version++
	w.segment, w.first, w.behind = seg.number, first, w.members
}

// deduper is what a channel tells repeats by: a window of its own, or one that it shares.
type deduper struct {
	own      *dedupeWindow // nil while it shares one
	shared   *sharedWindow
	version  uint64 // of shared: what the channel has been sent
	compared int    // the end of what it tells repeats by when that was last compared with others
}

func newDeduper(s *dedupeWindow) *deduper { return &deduper{own: s} }

// withheld are those messages of a segment from index first on that repeat others, of
// a channel that has taken none of them yet. It is told if it shares a window that knows;
// else it has its own from now on. What is returned holds until taken or leave is called.
func (d *deduper) withheld(seg *Segment, first int) (repeats []int, shared bool) {
	w := d.shared
	if w == nil {
		return nil, false
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	latest := d.version == w.version
	switch {
	case latest && w.members == 1 && (!w.listed || d.due(w.window)): // others may have what it has
		d.leaveLocked()
		return nil, false
	case latest && w.behind == 0 && w.segment != seg.number:
		w.take(seg, first)
		return w.withheld, true
	case !latest && w.segment == seg.number && w.first == first:
		return w.withheld, true
	}
	d.leaveLocked()
	return nil, false
}

// taken notes that the channel has taken the segment that it was told of.
func (d *deduper) taken() {
	w := d.shared
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	d.version++
	w.behind--
}

// alone is a window of the channel's own, with the fingerprints to look at of a segment:
// nil if there is nothing to look at.
func (d *deduper) alone(seg *Segment) (*dedupeWindow, *encoding) {
	if d == nil || !seg.Logged() {
		return nil, nil
	}
	d.leave()
	return d.own, d.own.of(seg)
}

// leave has the channel go on with a window of its own. Called on nil, it does nothing, as
// all that follows.
func (d *deduper) leave() {
	if d == nil || d.shared == nil {
		return
	}
	mu := &d.shared.of.mu
	mu.Lock()
	defer mu.Unlock()
	d.leaveLocked()
}

// leaveLocked is leave, called with the lock of the shared windows held. When it last
// compared is kept: a channel that leaves again and again, since its mailbox is full, would
// otherwise copy the window and compare it with others for each segment.
func (d *deduper) leaveLocked() {
	w := d.shared
	switch {
	case d.version != w.version:
		d.own = w.before()
		d.compared -= w.journal.first // since the copy counts from 0
	case w.members == 1:
		d.own = w.window
	default:
		d.own = w.window.clone()
	}
	d.quitLocked()
}

// quit is leave for a channel that is given nothing any more.
func (d *deduper) quit() {
	if d == nil || d.shared == nil {
		return
	}
	mu := &d.shared.of.mu
	mu.Lock()
	defer mu.Unlock()
	d.quitLocked()
}

func (d *deduper) quitLocked() {
	w := d.shared
	if d.version != w.version {
		w.behind--
	}
	if w.members--; w.members == 0 {
		w.unlist()
	}
	d.shared = nil
}

// share looks for a window that is as the channel's own, and has it share that. Either the
// channel has taken the segment, or it is about to. Once it has, its own is there for
// others if there is none. Only channels that get all that is routed share one.
func (d *deduper) share(seg *Segment, taken bool) {
	if d.shared != nil || seg.shared == nil || seg.number == 0 || !d.due(d.own) {
		return
	}
	all := seg.shared
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, w := range all.list {
		if (w.segment == seg.number) == taken && w.window.same(d.own) {
			d.join(w)
			return
		}
	}
	if !taken {
		return
	}
	d.compared = d.own.end
	if len(all.list) < mostShared || all.unlistLone() {
		w := &sharedWindow{of: all, listed: true, window: d.own, segment: seg.number}
		all.list = append(all.list, w)
		d.join(w)
	}
}

// join has the channel share a window, which is as its own. Called with the lock held.
func (d *deduper) join(w *sharedWindow) {
	d.own, d.shared, d.version, d.compared = nil, w, w.version, w.window.end
	w.members++
}

// due tells whether it is time to compare a window with others: each time as many messages
// have been sent as it still remembers of those before, so that to compare them costs little
// beside that.
func (d *deduper) due(s *dedupeWindow) bool { return s.end-d.compared >= d.compared-s.first }

// unlist has nobody find the window any more. Called with the lock held.
func (w *sharedWindow) unlist() {
	for i, other := range w.of.list {
		if other == w {
			last := len(w.of.list) - 1
			w.of.list[i], w.of.list[last] = w.of.list[last], nil
			w.of.list = w.of.list[:last]
		}
	}
	w.listed = false
}

// unlistLone unlists a window that one channel alone has, if there is one. Called with the
// lock held.
func (all *SharedWindows) unlistLone() bool {
	for _, w := range all.list {
		if w.members == 1 {
			w.unlist()
			return true
		}
	}
	return false
}
