package channels

import "time"

// mailbox is where a channel's outgoing messages wait for the connection's
// writer. It is bounded in messages by itself, and in bytes together with the
// other mailboxes of its connection. Replies are in line with the rest, but
// count as the connection's ([Outlet]).
type mailbox struct {
	// Immutable after its channel has started.
	outlet *Outlet
	format Format

	// Guarded by outlet.mu.
	queue    queue
	messages int      // messages queued, replies not counted
	reserved int      // messages that the channel is looking at
	pushed   int64    // the highest offset queued: nothing at or below it is queued (again)
	open     bool     // between the answer to the join and the end
	ended    bool     // nothing is queued any more
	inLine   bool     // for the writer's turns; perhaps with nothing in it, once ended
	next     *mailbox // behind it in the line
}

// join opens the mailbox. It reads the hub's head, which from then on is what
// has been pushed, and queues the answer that reply makes of it, so that
// nothing comes before the answer and nothing is lost after it. The channel
// must be subscribed already.
func (m *mailbox) join(reply func(head int64) ([]byte, error)) error {
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
	}
	return o.unlock(err)
}

// deliver queues what has not been pushed yet of a segment.
func (m *mailbox) deliver(seg *Segment, now time.Time) {
	o := m.outlet
	o.mu.Lock()
	if !m.open {
		_ = o.unlock(nil)
		return
	}
	frames, n, held := seg.After(m.pushed, m.format)
	if len(frames) == 0 {
		_ = o.unlock(nil)
		return
	}
	err := m.admit(entry{frames, n, held, now, seg.oldest, shared})
	if err == nil {
		m.pushed = max(m.pushed, seg.Last())
	}
	_ = o.unlock(err)
}

// reserve charges what has not been pushed yet of a segment that the channel
// wants to see before it is queued, as if it were queued already. It returns
// the charge, and false if there is nothing to see.
func (m *mailbox) reserve(seg *Segment) (r reservation, ok bool) {
	o := m.outlet
	o.mu.Lock()
	r.after = m.pushed
	_, r.messages, r.held = seg.After(r.after, Raw)
	if !m.open || r.messages == 0 {
		_ = o.unlock(nil)
		return r, false
	}
	err := m.fit(r.messages, r.held)
	if err == nil {
		m.reserved += r.messages
		o.held += r.held
		m.pushed = max(r.after, seg.Last())
	}
	return r, o.unlock(err) == nil
}

// reservation is room in a mailbox for what is not in it yet.
type reservation struct {
	after    int64 // what had been pushed before
	messages int
	held     int // bytes
}

// release gives a reservation back.
func (m *mailbox) release(r reservation) {
	if r.messages == 0 {
		return
	}
	m.outlet.mu.Lock()
	m.reserved -= r.messages
	m.outlet.held -= r.held
	_ = m.outlet.unlock(nil)
}

// forward queues frames of a segment that the channel has seen.
func (m *mailbox) forward(seg *Segment, frames []byte, messages int) {
	if len(frames) == 0 {
		return
	}
	m.outlet.mu.Lock()
	if !m.open {
		_ = m.outlet.unlock(nil)
		return
	}
	// Errors mean that the connection is being closed.
	_ = m.outlet.unlock(m.admit(entry{frames, messages, len(frames), time.Now(), seg.oldest, shared}))
}

// push queues a message from the channel to its client.
func (m *mailbox) push(frame []byte) error {
	m.outlet.mu.Lock()
	if !m.open {
		return m.outlet.unlock(ErrClosed)
	}
	return m.outlet.unlock(m.admit(entry{
		frames: frame, messages: 1, held: len(frame), queued: time.Now(), kind: private}))
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
	m.open, m.ended = false, true
	dropped := 0
	for m.queue.len() > 0 {
		e := m.pop()
		if replaced && e.kind == shared {
			o.held -= e.held
			o.entries--
			dropped += e.messages
			continue
		}
		o.own.push(e)
	}
	o.hub.meters.drop(DropReplaced, dropped)
	var err error
	for _, frame := range last {
		if err == nil {
			err = o.reply(&o.own, frame)
		}
	}
	return o.unlock(err)
}

// fit tells whether messages fit in, and does what is to be done if they do
// not. Called with outlet.mu held.
func (m *mailbox) fit(messages, held int) error {
	o := m.outlet
	queued := m.messages + m.reserved
	switch {
	case o.refuses():
		return ErrClosed
	case queued == 0 && messages == 1:
		return nil
	case queued+messages > o.config.MailboxSize, o.held+held > o.config.Bytes:
		return o.overflow(messages)
	}
	return nil
}

// admit queues an entry, if it fits. Called with outlet.mu held.
func (m *mailbox) admit(e entry) error {
	if err := m.fit(e.messages, e.held); err != nil {
		return err
	}
	o := m.outlet
	m.messages += e.messages
	o.hub.meters.depth(m.messages)
	o.queue(&m.queue, e)
	m.lineUp()
	return nil
}

// control queues a reply. Called with outlet.mu held.
func (m *mailbox) control(frame []byte) error {
	if err := m.outlet.reply(&m.queue, frame); err != nil {
		return err
	}
	m.lineUp()
	return nil
}

// lineUp puts the mailbox in line for the writer, unless it is. Called with
// outlet.mu held.
func (m *mailbox) lineUp() {
	if !m.inLine {
		m.outlet.line(m)
	}
}

// pop removes the first entry. Called with outlet.mu held.
func (m *mailbox) pop() entry {
	e := m.queue.pop()
	if e.kind != control {
		m.messages -= e.messages
	}
	return e
}
