package outbound

import (
	"time"

	"github.com/sluicehq/sluice/internal/ring"
)

// Mailbox is where a channel's outgoing messages wait for the connection's
// writer. It is bounded in messages by itself, and in bytes together with the
// other mailboxes of its connection. Replies are in line with the rest, but
// count as the connection's ([Connection]).
type Mailbox struct {
	// Immutable after its channel has started.
	conn  *Connection
	owner Owner  // whose mailbox it is
	wire  Format // of what is this client's alone
	small Format // of segments, where these are compressed

	// Guarded by conn.mu, and fixed once the join has been answered.
	overflow Overflow      // what happens when something does not fit
	segments Format        // what is sent of them
	formats  FormatSet     // that a segment must have been encoded in
	size     int           // messages that may be waiting
	counters *counters     // where its messages are counted
	interval time.Duration // for how long messages are collected; 0: not at all

	// Guarded by conn.mu, and written by the connection: the place in its line.
	next   *Mailbox // behind it
	inLine bool     // for the writer's turns; perhaps with nothing in it, once ended

	// Guarded by conn.mu, and written by the mailbox.
	open       bool // between the answer to the join and the end
	ended      bool // nothing is queued any more
	catchingUp bool // see mailbox_catchup.go
	collecting bool // see mailbox_flush.go
	positions  bool // see mailbox_position.go
	presence   presence
	queue      queue
	messages   int              // messages queued, replies not counted
	reserved   int              // messages that the channel is looking at, or going to
	looks      *ring.Ring[Look] // what it is going to look at; see mailbox_reserve.go; nil until there is something
	pushed     int64            // the highest offset dealt with: nothing at or below it is queued (again)
	dedupe     *deduper         // what repeats are told by, nil for DedupeOffset
	newest     map[uint64]int   // see mailbox_latest.go; nil unless it counts
	since      moment           // when it fell behind
	timer      *time.Timer      // ends collecting; nil until there is something to collect
}

// Format is the format of what goes to this client alone.
func (m *Mailbox) Format() Format { return m.wire }

// Needs are the formats that segments for the mailbox must have been encoded in.
func (m *Mailbox) Needs() FormatSet { return m.formats }

// Owner is the channel that a mailbox belongs to.
type Owner interface {
	// CatchUp has the mailbox given what it missed, as it has got room. It is
	// called with the connection's lock held, and does not block.
	CatchUp()

	// AwaitPresence has the mailbox given the list of who is on its topic, as it has got
	// room. It is called with the connection's lock held, and does not block.
	AwaitPresence()
}

// Init prepares the mailbox of a channel that is being started. Of segments, small is sent
// where they are compressed, and otherwise f.
func (m *Mailbox) Init(c *Connection, f, small Format, owner Owner) {
	m.conn, m.wire, m.small, m.segments, m.owner, m.counters = c, f, small, f, owner, c.metrics.own
}

// Configure makes the mailbox one of the given kind: of a channel that looks at
// what goes to its client, or not. It must not be open yet.
func (m *Mailbox) Configure(o Options, looks bool) {
	segments := m.wire
	if o.Compress == CompressOn {
		segments = m.small
	}
	formats := o.formats() | Formats(segments)
	if looks {
		formats |= Formats(Raw)
	}
	m.follow(o, segments, formats, m.conn.metrics.of(o.Tags))
}

// follow makes the mailbox one of the given kind. It must not be open yet.
func (m *Mailbox) follow(d Options, segments Format, formats FormatSet, s *counters) {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	m.size, m.overflow, m.interval = d.MailboxSize, d.Overflow, max(d.FlushInterval, 0)
	m.segments, m.formats, m.counters = segments, formats, s
	switch d.Dedupe {
	case DedupeKey:
		m.dedupe = newDeduper(newDedupeWindow(keyFingerprints, d.DedupeWindow, d.DedupeEntries))
	case DedupePayload:
		m.dedupe = newDeduper(newDedupeWindow(payloadFingerprints, d.DedupeWindow, d.DedupeEntries))
	}
}

// Join opens the mailbox. It reads the hub's head, which from then on is what
// has been pushed, and queues the answer that reply makes of it, so that
// nothing comes before the answer and nothing is lost after it. The channel
// must be subscribed already. A client that is to have what lies after an offset has it
// replayed. One that begins anew is beyond that offset at least: this
// node may not have come to it, and routes what the client has seen elsewhere.
func (m *Mailbox) Join(after int64, replays bool, reply func(head int64) ([]byte, error)) error {
	c := m.conn
	c.mu.Lock()
	if m.ended {
		return c.unlock(ErrClosed)
	}
	head := c.source.Head()
	if !replays {
		head = max(head, after)
	}
	frame, err := reply(head)
	if err == nil {
		err = m.control(frame)
	}
	if err == nil {
		m.pushed, m.open = head, true
		if replays && after >= 0 {
			m.pushed = after
		}
		if m.pushed < head {
			m.fallBehind()
		}
	}
	return c.unlock(err)
}

// Deliver queues what has not been pushed yet of a segment.
func (m *Mailbox) Deliver(seg *Segment, now time.Time) {
	c := m.conn
	c.mu.Lock()
	if !m.listens(seg) {
		_ = c.unlock(nil)
		return
	}
	_, err := m.enqueue(seg, now)
	_ = c.unlock(err)
}

// listens tells whether the mailbox takes in what is routed. What is in the log
// does not concern it while it is behind. A segment that was encoded before
// anybody asked for this channel's formats turns it behind: who resumes may
// need events that were between the encoder and the router then. Called with
// conn.mu held.
func (m *Mailbox) listens(seg *Segment) bool {
	switch {
	case m.conn.refuses():
		m.dedupe.quit()
		m.dedupe = nil // nothing is queued any more
		return false
	case !m.open, m.catchingUp && seg.Logged(), seg.presence && m.presence != current:
		return false
	case !seg.Has(m.formats) && seg.Last() > m.pushed:
		m.fallBehind()
		return false
	}
	return true
}

// Push queues a message from the channel to its client.
func (m *Mailbox) Push(frame []byte) error {
	c := m.conn
	c.mu.Lock()
	switch {
	case !m.open || c.refuses():
		return c.unlock(ErrClosed)
	case m.makeRoom(nil, noHash, len(frame), true):
		c.charge(len(frame))
		m.enter(private, 1, noHash).fill(private, m.counters, frame)
		return c.unlock(nil)
	case m.overflow == Disconnect:
		return c.unlock(c.giveUp(m.counters, 1))
	}
	m.counters.drop(DropOverflow, 1)
	return c.unlock(ErrShed)
}

// Reply queues the answer to a request.
func (m *Mailbox) Reply(frame []byte) error {
	m.conn.mu.Lock()
	if m.ended {
		return m.conn.unlock(ErrClosed)
	}
	return m.conn.unlock(m.control(frame))
}

// End closes the mailbox, with last as its last frames. What is queued goes
// first, without what is shared if the channel is being replaced, since only
// what names its join tells the client that it is from the old one. A channel
// that joins the same topic afterwards comes behind all of it.
func (m *Mailbox) End(replaced bool, last ...[]byte) error {
	c := m.conn
	c.mu.Lock()
	if m.ended {
		return c.unlock(ErrClosed)
	}
	m.flush()
	m.open, m.ended = false, true
	dropped := 0
	for m.queue.n > 0 {
		if e := m.queue.at(0); replaced && e.kind == shared {
			c.discharge(e.held)
			c.add(-1)
			dropped += int(e.messages)
		} else {
			c.inherit(e)
		}
		m.drop()
	}
	m.counters.drop(DropReplaced, dropped)
	m.overlook(replaced)
	m.dedupe.quit()
	m.dedupe = nil
	var err error
	for _, frame := range last {
		if err == nil {
			err = c.queueReply(m.counters, frame)
		}
	}
	return c.unlock(err)
}

// enter queues messages, as one entry, which have been admitted and charged.
// The entry's other fields are for the caller to fill in, at once. Called with
// conn.mu held.
func (m *Mailbox) enter(k kind, messages int, key uint64) *entry {
	if m.queue.sparse() {
		m.queue.close()
		m.squeeze()
	}
	if m.interval > 0 {
		m.collect(k)
	}
	if k != control {
		m.deepen(messages)
	}
	e := m.queue.push()
	e.kind, e.messages, e.key, e.counters = k, int32(messages), key, m.counters
	if m.newest != nil && key != noHash {
		m.newest[key] = m.queue.base + m.queue.n - 1
	}
	if !m.collecting {
		m.conn.ready(m, 1)
	}
	return e
}

// deepen notes that messages have been queued. Called with conn.mu held.
func (m *Mailbox) deepen(messages int) {
	m.messages += messages
	if m.collecting && (m.messages+m.reserved)*2 > m.size {
		m.flush()
	}
	m.conn.metrics.depth(m.messages)
}

// control queues a reply. Called with conn.mu held.
func (m *Mailbox) control(frame []byte) error {
	err := m.conn.admit(m.counters, frame)
	if err == nil {
		m.enter(control, 1, noHash).fill(control, m.counters, frame)
	}
	return err
}

// drop removes the first entry, whose turn it is. Called with conn.mu held.
func (m *Mailbox) drop() {
	e := m.queue.at(0)
	if e.kind != control {
		m.messages -= int(e.messages)
	}
	if m.newest != nil {
		delete(m.newest, e.key)
	}
	if m.queue.drop(); m.queue.n == 0 {
		m.newest = nil
	}
}
