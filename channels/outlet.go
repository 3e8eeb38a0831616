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
	seeing     int // bytes of what channels are looking at, which held is without
	replayed   int // bytes of held and seeing that are charged to replays; see replay_budget.go
	replies    int // control entries queued
	replyBytes int // bytes of these

	touched moment // when replayed changed last
	lent    moment // when it grew last

	// Guarded by mu: the state.
	taking   bool   // the writer has been woken, and has not seen an empty outlet since
	tooSlow  bool   // something did not fit: nothing is queued any more
	tell     bool   // Overflow is to be called
	closed   bool   // nothing is queued any more
	farewell []byte // the last frame, not taken yet
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
	if discard != "" {
		o.giveBack(o.replayed) // what is in hand is the writer's
	}
	_ = o.unlock(nil)
}

// Take fills b with what is queued: pieces up to the given number, and no
// further piece once limit bytes are reached. It returns false if there is
// nothing, and Wake is called when there is again. What the last Take returned
// is charged no longer; what of it has not been told to be written counts as lost.
func (o *Outlet) Take(b *Batch, limit, pieces int) bool {
	b.empty()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held -= o.inHand
	o.inHand = 0
	for size := 0; size < limit && len(b.Frames) < pieces; {
		e := o.next()
		if e == nil {
			break
		}
		size += len(e.frames)
		o.inHand += e.held
		b.add(e)
		o.drop()
	}
	if o.closed && o.entries == 0 {
		b.Last = true
		if o.farewell != nil {
			b.Frames = append(b.Frames, o.farewell)
			o.farewell = nil
		}
	}
	if b.queued != 0 {
		b.Queued = b.queued.time()
	}
	if o.replayed > 0 {
		o.settle()
		o.touched = momentOf(time.Now())
		if b.Last {
			o.giveBack(o.replayed) // nobody comes back for it
		}
	}
	o.serveWaiting()
	o.taking = len(b.Frames) > 0
	return o.taking
}

// Crowded tells whether half of the replies that may be waiting are: a transport
// whose client takes them by requests of its own reads no further meanwhile.
func (o *Outlet) Crowded() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.replies > o.config.Replies/2 || o.replies > 0 && o.replyBytes > o.config.Bytes/2
}

// next is the entry whose turn it is, nil if there is none. An ended mailbox
// may still be in the line, with nothing in it.
func (o *Outlet) next() *entry {
	if o.own.n > 0 {
		return o.own.at(0)
	}
	for o.first != nil && o.first.queue.n == 0 {
		o.advance()
	}
	if o.first == nil {
		return nil
	}
	return o.first.queue.at(0)
}

// drop removes the entry that next returned.
func (o *Outlet) drop() {
	o.entries--
	if o.own.n > 0 {
		o.uncount(o.own.at(0))
		o.own.drop()
		return
	}
	m := o.first
	o.uncount(m.queue.at(0))
	m.drop()
	if m.queue.n == 0 {
		o.advance()
	} else if o.first != o.last { // its turn is over
		o.advance()
		o.line(m)
	}
}

// uncount notes that an entry is going to leave.
func (o *Outlet) uncount(e *entry) {
	if e.kind == control {
		o.replies--
		o.replyBytes -= e.held
	}
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
	err := o.admit(s, frame)
	if err == nil {
		o.own.push().fill(control, s, frame)
		o.entries++
	}
	return err
}

// admit charges a reply that is going to be queued.
func (o *Outlet) admit(s *series, frame []byte) error {
	switch {
	case o.refuses():
		return ErrClosed
	case o.replies >= o.config.Replies, o.replies > 0 && o.replyBytes+len(frame) > o.config.Bytes:
		return o.overflow(s, 0) // replies are no messages of a topic
	}
	o.replies++
	o.replyBytes += len(frame)
	o.held += len(frame)
	return nil
}

func (o *Outlet) refuses() bool { return o.closed || o.tooSlow }

// lost is why messages are lost that can no longer be queued.
func (o *Outlet) lost() DropReason {
	if o.tooSlow {
		return DropTooSlow
	}
	return DropClosed
}

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
	for e := o.next(); e != nil; e = o.next() {
		if e.kind != control {
			e.series.drop(reason, int(e.messages))
		}
		o.held -= e.held
		o.drop()
	}
}

// unlock releases mu and then makes the calls that are due. It returns err.
func (o *Outlet) unlock(err error) error {
	o.settle()
	if o.crowded() {
		o.flushAll()
	}
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

// serveWaiting has those mailboxes served that have got room. Called with mu
// held.
func (o *Outlet) serveWaiting() {
	left := o.waiting[:0]
	for _, m := range o.waiting {
		switch {
		case !m.open || !m.behind:
		case m.roomy():
			o.hub.replay(m.actor)
		default:
			left = append(left, m)
		}
	}
	clear(o.waiting[len(left):])
	o.waiting = left
}
