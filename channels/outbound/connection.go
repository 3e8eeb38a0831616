package outbound

import (
	"errors"
	"sync"
	"time"
)

// ErrClosed is returned for a message to a channel or connection that has
// ended.
var ErrClosed = errors.New("channels: closed")

// ErrOverflow is returned for a message that did not fit, so that the
// connection is being closed.
var ErrOverflow = errors.New("channels: mailbox overflow")

// ErrShed is returned for a message that did not fit, and was shed by the rule
// of its mailbox.
var ErrShed = errors.New("channels: message shed")

// ConnectionConfig says how much one connection may have waiting.
type ConnectionConfig struct {
	// Replies is how many replies may be waiting: a client that lets more of
	// them pile up is disconnected. It must be positive.
	Replies int

	// Bytes is how much memory all of the connection's mailboxes together may
	// hold. A segment that many mailboxes share is charged whole to each. An
	// empty mailbox takes one message of any size, and a connection that holds
	// nothing a segment of any size. What was collected for an interval is in
	// nobody's way until the writer has taken it: up to half as much is held beside the
	// rest meanwhile. Replies are charged too but never shed to
	// keep within it: a client that lets this many bytes of them pile up is
	// disconnected. It must be positive.
	Bytes int

	// Wake is called when there is something to take and nobody is taking it.
	// It sees to it that somebody calls Take until that returns false. It is
	// called with the connection's lock held, so that none is made after Close, and
	// neither blocks nor uses the connection itself.
	Wake func()

	// Overflow is called once, when the client is too slow and has to be
	// disconnected; all that was queued has been discarded. It is called with
	// no lock held, must not block, and calls Close.
	Overflow func()
}

// Source is where what goes to a node's clients comes from: the hub.
type Source interface {
	// Head is the highest offset that the node has fetched from the log.
	Head() int64

	// Replays bounds what replays hold. It is nil where what a channel misses
	// cannot be replayed.
	Replays() *ReplayBudget

	// Metrics counts what becomes of messages.
	Metrics() *Metrics
}

// Connection is what leaves by one connection. Channels queue into their mailboxes; one
// writer takes from all of them, a piece from each in turn. What belongs to the
// connection itself, or to channels that have ended, goes first. All methods
// may be called concurrently, except Take, which is the writer's.
type Connection struct {
	// Immutable after NewConnection.
	source  Source
	metrics *Metrics
	config  ConnectionConfig

	mu sync.Mutex

	// Guarded by mu, and written by the connection, as all that follows: what is queued.
	own        queue    // of the connection and of ended channels
	first      *Mailbox // the line: mailboxes in the order of their turns
	last       *Mailbox
	entries    int        // that can be taken, in all queues together
	waiting    []*Mailbox // those that are behind, for room; each once
	collecting []*Mailbox // those that are not in line yet though something is queued; see mailbox_flush.go

	// Guarded by mu: what it is charged.
	held       int // bytes of all queues, and of what the writer has in hand
	inHand     int // bytes of what the last Take returned
	seeing     int // bytes of what channels are looking at, which held is without
	lists      int // bytes that a list of who is on a topic may have brought beyond the bound; see mailbox_presence.go
	excused    int // bytes that were collected and have not been taken yet; see mailbox_flush.go
	replayed   int // bytes of held and seeing that are charged to replays; see replay_budget.go
	replies    int // control entries queued
	replyBytes int // bytes of these

	touched moment // when replayed changed last
	lent    moment // when it grew last

	// Guarded by mu: the state.
	taking   bool   // the writer has been woken, and has not seen an empty connection since
	tooSlow  bool   // something did not fit: nothing is queued any more
	tell     bool   // Overflow is to be called
	closed   bool   // nothing is queued any more
	farewell []byte // the last frame, not taken yet
}

// NewConnection returns a connection with nothing in it, for channels
// of source.
func NewConnection(source Source, config ConnectionConfig) *Connection {
	return &Connection{source: source, metrics: source.Metrics(), config: config}
}

// Reply queues a frame that belongs to the connection and to none of its
// channels, such as the answer to a heartbeat.
func (c *Connection) Reply(frame []byte) error {
	c.mu.Lock()
	return c.unlock(c.queueReply(c.metrics.own, frame))
}

// Held is how many bytes the connection is charged for what waits on it.
func (c *Connection) Held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held
}

// Close ends the connection: nothing is queued any more. What was queued is still
// taken, unless there is a reason to discard it, and last of all the farewell,
// if there is one. Closing again with a reason to discard drops the first
// farewell too; otherwise it does nothing.
func (c *Connection) Close(farewell []byte, discard DropReason) {
	c.mu.Lock()
	c.flushAll()
	if discard != "" {
		c.discard(discard)
		c.farewell = nil
	}
	if !c.closed {
		c.closed, c.farewell = true, farewell
	}
	c.waiting = nil
	if discard != "" {
		c.giveBack(c.replayed) // what is in hand is the writer's
	}
	_ = c.unlock(nil)
}

// Take fills b with what is queued: pieces up to the given number, and no
// further piece once limit bytes are reached. It returns false if there is
// nothing, and Wake is called when there is again. What the last Take returned
// is charged no longer; what of it has not been told to be written counts as lost.
func (c *Connection) Take(b *WriteBatch, limit, pieces int) bool {
	b.empty()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleInHand()
	b.ahead = c.lookAhead(pieces)
	for size := 0; size < limit && len(b.Frames) < pieces; {
		e := c.next()
		if e == nil {
			break
		}
		size += len(e.frames)
		c.inHand += e.held
		b.add(e)
		c.drop()
	}
	if c.closed && c.entries == 0 {
		b.Last = true
		if c.farewell != nil {
			b.Frames = append(b.Frames, c.farewell)
			c.farewell = nil
		}
	}
	if b.queued != 0 {
		b.Queued = b.queued.time()
	}
	if c.replayed > 0 {
		c.settleTaken()
		c.touched = momentOf(time.Now())
		if b.Last {
			c.giveBack(c.replayed) // nobody comes back for it
		}
	}
	c.serveWaiting()
	c.taking = len(b.Frames) > 0
	return c.taking
}

// TakeReplies is Take for replies alone, and what channels that have ended have left: what
// a mailbox has first is taken if it is one. A transport that cannot answer before all of
// its joins are answered leaves the messages of those that are in their mailboxes, which
// see to their bounds.
func (c *Connection) TakeReplies(b *WriteBatch) bool {
	b.empty()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settleInHand()
	take := func(e *entry) {
		c.inHand += e.held
		b.add(e)
		c.drop()
	}
	for c.own.n > 0 {
		take(c.own.at(0))
	}
	for last := c.last; c.first != nil; {
		m := c.first
		switch {
		case m.queue.n == 0:
			c.advance()
		case m.queue.at(0).kind == control:
			take(m.queue.at(0)) // which is its turn
		default:
			c.advance()
			c.line(m)
		}
		if m == last {
			break
		}
	}
	c.taking = len(b.Frames) > 0
	return c.taking
}

// lookAhead looks at the entries whose turns come next, and sums up what they hold. With
// many channels these are in no cache any more: reading them one right after the other,
// the processor waits for several at a time, and Take then for none.
func (c *Connection) lookAhead(pieces int) (held int) {
	if c.first == c.last {
		return 0
	}
	for m := c.first; m != nil && pieces > 0; m = m.next {
		if m.queue.n > 0 {
			held += m.queue.at(0).held
		}
		pieces--
	}
	return held
}

// settleInHand has the connection charged no longer for what the writer took last. Called
// with mu held.
func (c *Connection) settleInHand() {
	c.held -= c.inHand
	if c.excused = max(0, c.excused-c.inHand); c.held == 0 {
		c.excused = 0
	}
	c.inHand = 0
	if c.held*2 <= c.config.Bytes {
		c.lists = 0
	}
}

// Crowded tells whether half of the replies that may be waiting are: a transport
// whose client takes them by requests of its own reads no further meanwhile.
func (c *Connection) Crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replies > c.config.Replies/2 || c.replies > 0 && c.replyBytes > c.config.Bytes/2
}

// next is the entry whose turn it is, nil if there is none. An ended mailbox
// may still be in the line, with nothing in it.
func (c *Connection) next() *entry {
	if c.own.n > 0 {
		return c.own.at(0)
	}
	for c.first != nil && c.first.queue.n == 0 {
		c.advance()
	}
	if c.first == nil {
		return nil
	}
	return c.first.queue.at(0)
}

// drop removes the entry that next returned.
func (c *Connection) drop() {
	c.entries--
	if c.own.n > 0 {
		c.uncount(c.own.at(0))
		c.own.drop()
		return
	}
	m := c.first
	c.uncount(m.queue.at(0))
	m.drop()
	if m.queue.n == 0 {
		c.advance()
	} else if c.first != c.last { // its turn is over
		c.advance()
		c.line(m)
	}
}

// uncount notes that an entry is going to leave.
func (c *Connection) uncount(e *entry) {
	if e.kind == control {
		c.replies--
		c.replyBytes -= e.held
	}
}

// What follows is how mailboxes have the connection change what it knows of them,
// with mu held.

// charge notes that bytes are held for a mailbox.
func (c *Connection) charge(bytes int) { c.held += bytes }

// discharge notes that they no longer are.
func (c *Connection) discharge(bytes int) { c.held -= bytes }

// startLook notes that bytes that are held are what a channel is looking at.
func (c *Connection) startLook(bytes int) {
	c.held -= bytes
	c.seeing += bytes
}

// endLook notes that a channel is done with what it was looking at.
func (c *Connection) endLook(bytes int) { c.seeing -= bytes }

// ready notes that there are so many entries more to take from a mailbox.
func (c *Connection) ready(m *Mailbox, entries int) {
	c.add(entries)
	if entries > 0 && !m.inLine {
		c.line(m)
	}
}

// add notes that there are so many entries more to take, or fewer.
func (c *Connection) add(entries int) { c.entries += entries }

// inherit queues what a mailbox that ends has left, which is counted and charged.
func (c *Connection) inherit(e *entry) { *c.own.push() = *e }

// wait has a mailbox served that is behind, once it has room.
func (c *Connection) wait(m *Mailbox) { c.waiting = append(c.waiting, m) }

// line puts a mailbox at the end of the line for the writer's turns.
func (c *Connection) line(m *Mailbox) {
	if c.first == nil {
		c.first = m
	} else {
		c.last.next = m
	}
	c.last, m.inLine = m, true
}

// advance takes the first mailbox out of the line.
func (c *Connection) advance() {
	m := c.first
	c.first, m.next, m.inLine = m.next, nil, false
}

// queueReply queues a reply that belongs to no open mailbox, unless too many are
// waiting already.
func (c *Connection) queueReply(s *counters, frame []byte) error {
	err := c.admit(s, frame)
	if err == nil {
		c.own.push().fill(control, s, frame)
		c.entries++
	}
	return err
}

// admit charges a reply that is going to be queued.
func (c *Connection) admit(s *counters, frame []byte) error {
	switch {
	case c.refuses():
		return ErrClosed
	case c.replies >= c.config.Replies, c.replies > 0 && c.replyBytes+len(frame) > c.config.Bytes:
		return c.giveUp(s, 0) // replies are no messages of a topic
	}
	c.replies++
	c.replyBytes += len(frame)
	c.held += len(frame)
	return nil
}

func (c *Connection) refuses() bool { return c.closed || c.tooSlow }

// lost is why messages are lost that can no longer be queued.
func (c *Connection) lost() DropReason {
	if c.tooSlow {
		return DropTooSlow
	}
	return DropClosed
}

// giveUp disconnects the client, because n messages more do not fit.
func (c *Connection) giveUp(s *counters, n int) error {
	s.drop(DropTooSlow, n)
	c.flushAll()
	c.discard(DropTooSlow)
	c.tooSlow, c.tell = true, true
	return ErrOverflow
}

// discard drops all that is queued.
func (c *Connection) discard(reason DropReason) {
	for e := c.next(); e != nil; e = c.next() {
		if e.kind != control {
			e.counters.drop(reason, int(e.messages))
		}
		c.held -= e.held
		c.drop()
	}
}

// unlock releases mu and then makes the calls that are due. It returns err.
func (c *Connection) unlock(err error) error {
	c.settle()
	if c.crowded() {
		c.flushAll()
	}
	wake := !c.taking && (c.entries > 0 || c.farewell != nil)
	tell := c.tell
	c.taking = c.taking || wake
	c.tell = false
	if wake {
		c.config.Wake()
	}
	c.mu.Unlock()
	if tell {
		c.config.Overflow()
	}
	return err
}

// serveWaiting has those mailboxes served that have got room. Called with mu
// held.
func (c *Connection) serveWaiting() {
	left := c.waiting[:0]
	for _, m := range c.waiting {
		switch {
		case !m.open || !m.catchingUp:
		case m.roomy():
			m.owner.CatchUp()
		default:
			left = append(left, m)
		}
	}
	clear(c.waiting[len(left):])
	c.waiting = left
}
