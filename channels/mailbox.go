package channels

import (
	"bytes"
	"time"
)

// mailbox is where a channel's outgoing messages wait for the connection's
// writer. It is bounded in messages by itself, and in bytes together with the
// other mailboxes of its connection. Replies are in line with the rest, but
// count as the connection's ([Outlet]).
type mailbox struct {
	// Immutable after its channel has started.
	outlet *Outlet
	format Format
	actor  *Actor // whose mailbox it is

	// Guarded by outlet.mu, and fixed once the join has been answered.
	size     int           // messages that may be waiting
	overflow Overflow      // what happens when something does not fit
	interval time.Duration // for how long messages are collected; 0: not at all
	series   *series       // where its messages are counted

	// Guarded by outlet.mu.
	queue      queue
	messages   int            // messages queued, replies not counted
	reserved   int            // messages that the channel is looking at
	pushed     int64          // the highest offset dealt with: nothing at or below it is queued (again)
	sent       *sent          // what repeats are told by, nil for DedupeOffset
	newest     map[uint64]int // see latest.go; nil unless it counts
	open       bool           // between the answer to the join and the end
	ended      bool           // nothing is queued any more
	behind     bool           // see behind.go
	since      time.Time      // when it fell behind
	collecting bool           // see interval.go
	timer      *time.Timer    // ends collecting; nil until there is something to collect
	inLine     bool           // for the writer's turns; perhaps with nothing in it, once ended
	next       *mailbox       // behind it in the line
}

// follow makes the mailbox one of the given kind. It must not be open yet.
func (m *mailbox) follow(d Delivery, s *series) {
	m.outlet.mu.Lock()
	defer m.outlet.mu.Unlock()
	m.size, m.overflow, m.interval, m.series = d.MailboxSize, d.Overflow, max(d.FlushInterval, 0), s
	switch d.Dedupe {
	case DedupeKey:
		m.sent = newSent(keyDigests, d.DedupeWindow, d.DedupeEntries)
	case DedupePayload:
		m.sent = newSent(payloadDigests, d.DedupeWindow, d.DedupeEntries)
	}
}

// join opens the mailbox. It reads the hub's head, which from then on is what
// has been pushed, and queues the answer that reply makes of it, so that
// nothing comes before the answer and nothing is lost after it. The channel
// must be subscribed already. A client that resumes after an offset has what
// lies between replayed.
func (m *mailbox) join(after int64, reply func(head int64) ([]byte, error)) error {
	o := m.outlet
	o.mu.Lock()
	if m.ended {
		return o.unlock(ErrClosed)
	}
	head := o.hub.Head()
	frame, err := reply(head)
	if err == nil {
		err = m.control(frame)
	}
	if err == nil {
		m.pushed, m.open = head, true
		if after >= 0 {
			m.pushed = after
		}
		if m.pushed < head {
			m.fallBehind()
		}
	}
	return o.unlock(err)
}

// deliver queues what has not been pushed yet of a segment.
func (m *mailbox) deliver(seg *Segment, now time.Time) {
	o := m.outlet
	o.mu.Lock()
	if !m.listens(seg) {
		_ = o.unlock(nil)
		return
	}
	_, err := m.takeIn(seg, now)
	_ = o.unlock(err)
}

// listens tells whether the mailbox takes in what is routed. What is in the log
// does not concern it while it is behind. A segment that was encoded before
// anybody asked for this channel's formats turns it behind: who resumes may
// need events that were between the encoder and the router then. Called with
// outlet.mu held.
func (m *mailbox) listens(seg *Segment) bool {
	switch {
	case !m.open, m.outlet.refuses(), m.behind && seg.Logged():
		return false
	case seg.Last() > m.pushed && m.actor != nil && !seg.has(m.actor.formats()):
		m.fallBehind()
		return false
	}
	return true
}

// reserve charges what has not been pushed yet of a segment that the channel
// wants to see before it is queued, as if it were queued already. It returns
// the charge, and false if there is nothing to see.
func (m *mailbox) reserve(seg *Segment) (r reservation, ok bool) {
	o := m.outlet
	o.mu.Lock()
	if !m.listens(seg) {
		_ = o.unlock(nil)
		return r, false
	}
	if _, err := m.sift(seg, Raw, time.Time{}, &r); err != nil {
		m.reserved -= r.messages
		o.held -= r.held
		m.series.drop(DropTooSlow, r.messages)
		return reservation{}, o.unlock(err) == nil
	}
	return r, o.unlock(nil) == nil && r.messages > 0
}

// reservation is room in a mailbox for messages of a segment that are not in it
// yet.
type reservation struct {
	spans    []span
	messages int
	held     int // bytes
}

// span is messages in a row, from index first up to but not including end.
type span struct{ first, end int }

// add adds one more message.
func (r *reservation) add(i int) {
	if n := len(r.spans); n > 0 && r.spans[n-1].end == i {
		r.spans[n-1].end++
	} else {
		r.spans = append(r.spans, span{i, i + 1})
	}
	r.messages++
}

// release gives a reservation back.
func (m *mailbox) release(r reservation) {
	if r.messages == 0 {
		return
	}
	m.outlet.mu.Lock()
	m.reserved -= r.messages
	m.outlet.held -= r.held
	m.outlet.serveWaiting()
	_ = m.outlet.unlock(nil)
}

// forward queues messages of a segment that the channel has seen and left as
// they are. They are copied, so that no more is held than is charged.
func (m *mailbox) forward(seg *Segment, s span) {
	for i := s.first; i < s.end; {
		end := s.end
		if m.overflow == Latest {
			end = i + 1 // each by itself, since it has a key
		}
		m.forwardFrames(seg, i, end-i, bytes.Clone(seg.between(i, end, m.format)))
		i = end
	}
}

// forwardFrames queues what has become of messages that the channel has seen,
// from index first on.
func (m *mailbox) forwardFrames(seg *Segment, first, messages int, frames []byte) {
	if len(frames) == 0 {
		return
	}
	o := m.outlet
	o.mu.Lock()
	if !m.open || o.refuses() {
		_ = o.unlock(nil)
		return
	}
	// It had a reservation: whether it is larger now is the channel's doing.
	key := m.keyOf(seg, first)
	m.supersede(key)
	o.held += len(frames)
	m.enter(&entry{frames: frames, messages: int32(messages), held: len(frames),
		queued: momentOf(time.Now()), oldest: seg.oldest, key: key})
	_ = o.unlock(nil)
}

// push queues a message from the channel to its client.
func (m *mailbox) push(frame []byte) error {
	o := m.outlet
	o.mu.Lock()
	switch {
	case !m.open || o.refuses():
		return o.unlock(ErrClosed)
	case m.makeRoom(nil, noPrint, len(frame), true):
		o.held += len(frame)
		m.enter(&entry{frames: frame, messages: 1, held: len(frame), queued: momentOf(time.Now()), kind: private})
		return o.unlock(nil)
	case m.overflow == Disconnect:
		return o.unlock(o.overflow(m.series, 1))
	}
	m.series.drop(DropOverflow, 1)
	return o.unlock(ErrShed)
}

// reply queues the answer to a request.
func (m *mailbox) reply(frame []byte) error {
	m.outlet.mu.Lock()
	if m.ended {
		return m.outlet.unlock(ErrClosed)
	}
	return m.outlet.unlock(m.control(frame))
}

// end closes the mailbox, with last as its last frames. What is queued goes
// first, without what is shared if the channel is being replaced, since only
// what names its join tells the client that it is from the old one. A channel
// that joins the same topic afterwards comes behind all of it.
func (m *mailbox) end(replaced bool, last ...[]byte) error {
	o := m.outlet
	o.mu.Lock()
	if m.ended {
		return o.unlock(ErrClosed)
	}
	m.flush()
	m.open, m.ended = false, true
	dropped := 0
	for m.queue.len() > 0 {
		e := m.pop()
		if replaced && e.kind == shared {
			o.held -= e.held
			o.entries--
			dropped += int(e.messages)
			continue
		}
		o.own.push(&e)
	}
	m.series.drop(DropReplaced, dropped)
	m.sent = nil
	var err error
	for _, frame := range last {
		if err == nil {
			err = o.reply(m.series, frame)
		}
	}
	return o.unlock(err)
}

// enter queues an entry that has been admitted and charged. Called with
// outlet.mu held.
func (m *mailbox) enter(e *entry) {
	e.series = m.series
	if m.queue.sparse() {
		m.queue.close()
		m.squeeze()
	}
	if m.interval > 0 {
		m.collect(e.kind)
	}
	if e.kind != control {
		m.deepen(int(e.messages))
	}
	number := m.queue.push(e)
	if m.newest != nil && e.key != noPrint {
		m.newest[e.key] = number
	}
	if m.collecting {
		return
	}
	m.outlet.entries++
	if !m.inLine {
		m.outlet.line(m)
	}
}

// deepen notes that messages have been queued. Called with outlet.mu held.
func (m *mailbox) deepen(messages int) {
	m.messages += messages
	m.outlet.hub.meters.depth(m.messages)
}

// control queues a reply. Called with outlet.mu held.
func (m *mailbox) control(frame []byte) error {
	e, err := m.outlet.replyEntry(m.series, frame)
	if err == nil {
		m.enter(&e)
	}
	return err
}

// pop removes the first entry, whose turn it is. Called with outlet.mu held.
func (m *mailbox) pop() entry {
	e := m.queue.pop()
	if e.kind != control {
		m.messages -= int(e.messages)
	}
	if m.newest != nil {
		delete(m.newest, e.key)
		if m.queue.len() == 0 {
			m.newest = nil
		}
	}
	return e
}
