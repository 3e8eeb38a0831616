package channels

import (
	"errors"
	"sync"
	"time"
)

// ErrClosed is returned for a message to a channel or connection that has
// ended.
var ErrClosed = errors.New("channels: closed")

// ErrOverloaded is returned for a message to a channel that has too much to do.
var ErrOverloaded = errors.New("channels: overloaded")

// ErrOverflow is returned for a message that did not fit, so that the
// connection is being closed.
var ErrOverflow = errors.New("channels: mailbox overflow")

// ErrShed is returned for a message that did not fit, and was shed by the rule
// of its mailbox.
var ErrShed = errors.New("channels: message shed")

// OutletConfig says how much one connection may have waiting.
type OutletConfig struct {
	// Replies is how many replies may be waiting: a client that lets more of
	// them pile up is disconnected. It must be positive.
	Replies int

	// Bytes is how much memory all of the connection's mailboxes together may
	// hold. A segment that many mailboxes share is charged whole to each. An
	// empty mailbox takes one message of any size, and a connection that holds
	// nothing a segment of any size. Replies are charged too but never shed to
	// keep within it: a client that lets this many bytes of them pile up is
	// disconnected. It must be positive.
	Bytes int

	// Wake is called when there is something to take and nobody is taking it.
	// It sees to it that somebody calls Take until that returns false. It is
	// called with the outlet's lock held, so that none is made after Close, and
	// neither blocks nor uses the outlet itself.
	Wake func()

	// Overflow is called once, when the client is too slow and has to be
	// disconnected; all that was queued has been discarded. It is called with
	// no lock held, must not block, and calls Close.
	Overflow func()
}

// Outlet is a connection's way out. Channels queue into their mailboxes; one
// writer takes from all of them, a piece from each in turn. What belongs to the
// connection itself, or to channels that have ended, goes first. All methods
// may be called concurrently, except Take, which is the writer's.
type Outlet struct {
	// Immutable after NewOutlet.
	hub    *Hub
	config OutletConfig

	mu sync.Mutex

	// Guarded by mu: what is queued.
	own        queue    // of the connection and of ended channels
	first      *mailbox // the line: mailboxes in the order of their turns
	last       *mailbox
	entries    int        // that can be taken, in all queues together
	waiting    []*mailbox // those that are behind, for room; each once
	collecting []*mailbox // those that are not in line yet though something is queued; see interval.go

	// Guarded by mu: what it is charged.
	held       int // bytes of all queues, and of what the writer has in hand
	inHand     int // bytes of what the last Take returned
	replies    int // control entries queued
	replyBytes int // bytes of these

	// Guarded by mu: the state.
	taking   bool   // the writer has been woken, and has not seen an empty outlet since
	tooSlow  bool   // something did not fit: nothing is queued any more
	tell     bool   // Overflow is to be called
	closed   bool   // nothing is queued any more
	farewell []byte // the last frame, not taken yet
}

// Batch is what a writer takes at a time. Take reuses its memory.
type Batch struct {
	Frames   [][]byte
	Queued   time.Time   // when the oldest of it was queued
	Inserted []time.Time // for each piece of the log, when its oldest event was inserted
	Last     bool        // nothing will follow

	counts []count
}

// count is how many of a batch's messages count in a series.
type count struct {
	series   *series
	messages int
}

// Written counts the batch's messages as pushed.
func (b *Batch) Written() {
	for _, c := range b.counts {
		c.series.pushed.Add(int64(c.messages))
	}
}

// NewOutlet returns an outlet with nothing in it, for channels of hub.
func NewOutlet(hub *Hub, config OutletConfig) *Outlet {
	return &Outlet{hub: hub, config: config}
}

// Reply queues a frame that belongs to the connection and to none of its
// channels, such as the answer to a heartbeat.
func (o *Outlet) Reply(frame []byte) error {
	o.mu.Lock()
	return o.unlock(o.reply(o.hub.series.own, frame))
}

// Close ends the outlet: nothing is queued any more. What was queued is still
// taken, unless there is a reason to discard it, and last of all the farewell,
// if there is one. Closing again with a reason to discard drops the first
// farewell too; otherwise it does nothing.
func (o *Outlet) Close(farewell []byte, discard DropReason) {
	o.mu.Lock()
	o.flushAll()
	if discard != "" {
		o.discard(discard)
		o.farewell = nil
	}
	if !o.closed {
		o.closed, o.farewell = true, farewell
	}
	o.waiting = nil
	_ = o.unlock(nil)
}

// Take fills b with what is queued: pieces up to the given number, and no
// further piece once limit bytes are reached. It returns false if there is
// nothing, and Wake is called when there is again. What the last Take returned
// is taken for written, and charged no longer.
func (o *Outlet) Take(b *Batch, limit, pieces int) bool {
	clear(b.Frames)
	*b = Batch{Frames: b.Frames[:0], Inserted: b.Inserted[:0], counts: b.counts[:0]}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held -= o.inHand
	o.inHand = 0
	for size := 0; size < limit && len(b.Frames) < pieces; {
		e, ok := o.next()
		if !ok {
			break
		}
		size += len(e.frames)
		o.inHand += e.held
		b.add(e)
	}
	if o.closed && o.entries == 0 {
		b.Last = true
		if o.farewell != nil {
			b.Frames = append(b.Frames, o.farewell)
			o.farewell = nil
		}
	}
	o.serveWaiting()
	o.taking = len(b.Frames) > 0
	return o.taking
}

// next removes the entry whose turn it is. An ended mailbox may still be in the
// line, with nothing in it.
func (o *Outlet) next() (e entry, ok bool) {
	for o.own.len() == 0 && o.first != nil && o.first.queue.len() == 0 {
		o.advance()
	}
	switch m := o.first; {
	case o.own.len() > 0:
		e = o.own.pop()
	case m != nil:
		e = m.pop()
		o.advance()
		if m.queue.len() > 0 {
			o.line(m)
		}
	default:
		return entry{}, false
	}
	o.entries--
	if e.kind == control {
		o.replies--
		o.replyBytes -= e.held
	}
	return e, true
}

// line puts a mailbox at the end of the line for the writer's turns.
func (o *Outlet) line(m *mailbox) {
	if o.first == nil {
		o.first = m
	} else {
		o.last.next = m
	}
	o.last, m.inLine = m, true
}

// advance takes the first mailbox out of the line.
func (o *Outlet) advance() {
	m := o.first
	o.first, m.next, m.inLine = m.next, nil, false
}

// reply queues a reply that belongs to no open mailbox, unless too many are
// waiting already.
func (o *Outlet) reply(s *series, frame []byte) error {
	e, err := o.replyEntry(s, frame)
	if err == nil {
		o.own.push(&e)
		o.entries++
	}
	return err
}

// replyEntry charges a reply, and returns the entry to queue.
func (o *Outlet) replyEntry(s *series, frame []byte) (entry, error) {
	switch {
	case o.refuses():
		return entry{}, ErrClosed
	case o.replies >= o.config.Replies, o.replies > 0 && o.replyBytes+len(frame) > o.config.Bytes:
		return entry{}, o.overflow(s, 1)
	}
	o.replies++
	o.replyBytes += len(frame)
	o.held += len(frame)
	return entry{frames: frame, messages: 1, held: len(frame), queued: momentOf(time.Now()), series: s, kind: control}, nil
}

func (o *Outlet) refuses() bool { return o.closed || o.tooSlow }

// overflow gives up on the client, because n messages more do not fit.
func (o *Outlet) overflow(s *series, n int) error {
	s.drop(DropTooSlow, n)
	o.flushAll()
	o.discard(DropTooSlow)
	o.tooSlow, o.tell = true, true
	return ErrOverflow
}

// discard drops all that is queued.
func (o *Outlet) discard(reason DropReason) {
	for {
		e, ok := o.next()
		if !ok {
			return
		}
		e.series.drop(reason, int(e.messages))
		o.held -= e.held
	}
}

// unlock releases mu and then makes the calls that are due. It returns err.
func (o *Outlet) unlock(err error) error {
	wake := !o.taking && (o.entries > 0 || o.farewell != nil)
	tell := o.tell
	o.taking = o.taking || wake
	o.tell = false
	if wake {
		o.config.Wake()
	}
	o.mu.Unlock()
	if tell {
		o.config.Overflow()
	}
	return err
}

// add puts an entry into the batch.
func (b *Batch) add(e entry) {
	b.Frames = append(b.Frames, e.frames)
	if e.kind != control {
		b.count(e.series, int(e.messages))
	}
	if queued := e.queued.time(); b.Queued.IsZero() || queued.Before(b.Queued) {
		b.Queued = queued
	}
	if e.oldest != 0 {
		b.Inserted = append(b.Inserted, time.Unix(0, e.oldest))
	}
}

func (b *Batch) count(s *series, messages int) {
	for i := range b.counts {
		if b.counts[i].series == s {
			b.counts[i].messages += messages
			return
		}
	}
	b.counts = append(b.counts, count{s, messages})
}
