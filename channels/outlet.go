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
	// MailboxSize is how many messages each of the connection's channels may
	// have waiting. More rides out longer stalls of a client, for more memory.
	// A segment with more messages than this never fits. It must be positive.
	MailboxSize int

	// Bytes is how much memory all of the connection's mailboxes together may
	// hold. A segment that many mailboxes share is charged whole to each. An
	// empty mailbox takes one message of any size. Replies are charged too but
	// never shed to keep within it: a client that lets this many bytes of them,
	// or MailboxSize of them, pile up is disconnected. It must be positive.
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
	own     queue    // of the connection and of ended channels
	first   *mailbox // the line: mailboxes in the order of their turns
	last    *mailbox
	entries int        // in all queues together
	waiting []*mailbox // those that are behind, for room; each once

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
	Messages int         // replies not counted
	Queued   time.Time   // when the oldest of it was queued
	Inserted []time.Time // for each piece of the log, when its oldest event was inserted
	Last     bool        // nothing will follow
}

// NewOutlet returns an outlet with nothing in it, for channels of hub.
func NewOutlet(hub *Hub, config OutletConfig) *Outlet {
	return &Outlet{hub: hub, config: config}
}

// Reply queues a frame that belongs to the connection and to none of its
// channels, such as the answer to a heartbeat.
func (o *Outlet) Reply(frame []byte) error {
	o.mu.Lock()
	return o.unlock(o.reply(&o.own, frame))
}

// Close ends the outlet: nothing is queued any more. What was queued is still
// taken, unless there is a reason to discard it, and last of all the farewell,
// if there is one. Closing again with a reason to discard drops the first
// farewell too; otherwise it does nothing.
func (o *Outlet) Close(farewell []byte, discard DropReason) {
	o.mu.Lock()
	if discard != "" {
		o.discard(discard, 0)
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
	*b = Batch{Frames: b.Frames[:0], Inserted: b.Inserted[:0]}
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

// queue puts an entry that has been admitted into q.
func (o *Outlet) queue(q *queue, e entry) {
	o.held += e.held
	o.entries++
	q.push(e)
}

// reply queues a reply in q, unless too many are waiting already.
func (o *Outlet) reply(q *queue, frame []byte) error {
	switch {
	case o.refuses():
		return ErrClosed
	case o.replies >= o.config.MailboxSize, o.replies > 0 && o.replyBytes+len(frame) > o.config.Bytes:
		return o.overflow(1)
	}
	o.replies++
	o.replyBytes += len(frame)
	o.queue(q, entry{frames: frame, messages: 1, held: len(frame), queued: time.Now(), kind: control})
	return nil
}

func (o *Outlet) refuses() bool { return o.closed || o.tooSlow }

// overflow gives up on the client, because n messages more do not fit.
func (o *Outlet) overflow(n int) error {
	o.discard(DropTooSlow, n)
	o.tooSlow, o.tell = true, true
	return ErrOverflow
}

// discard drops all that is queued, and counts n messages more.
func (o *Outlet) discard(reason DropReason, n int) {
	for {
		e, ok := o.next()
		if !ok {
			break
		}
		n += e.messages
		o.held -= e.held
	}
	o.hub.meters.drop(reason, n)
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
		b.Messages += e.messages
	}
	if b.Queued.IsZero() || e.queued.Before(b.Queued) {
		b.Queued = e.queued
	}
	if !e.oldest.IsZero() {
		b.Inserted = append(b.Inserted, e.oldest)
	}
}
