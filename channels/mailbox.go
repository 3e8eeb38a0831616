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
	actor  *Actor // whose mailbox it is

	// Guarded by outlet.mu.
	queue    queue
	messages int       // messages queued, replies not counted
	reserved int       // messages that the channel is looking at
	pushed   int64     // the highest offset queued: nothing at or below it is queued (again)
	open     bool      // between the answer to the join and the end
	ended    bool      // nothing is queued any more
	overflow Overflow  // what happens when something does not fit
	behind   bool      // see behind.go
	since    time.Time // when it fell behind
	inLine   bool      // for the writer's turns; perhaps with nothing in it, once ended
	next     *mailbox  // behind it in the line
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
	if !m.open || m.behind && seg.Logged() {
		_ = o.unlock(nil)
		return
	}
	frames, n, held := seg.After(m.pushed, m.format)
	if len(frames) == 0 {
		_ = o.unlock(nil)
		return
	}
	admitted, err := m.fit(n, held, seg)
	if admitted {
		m.enter(entry{frames, n, held, now, seg.oldest, shared})
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
	if !m.open || m.behind && seg.Logged() || r.messages == 0 {
		_ = o.unlock(nil)
		return r, false
	}
	admitted, err := m.fit(r.messages, r.held, seg)
	if admitted {
		m.hold(r)
	}
	return r, o.unlock(err) == nil && admitted
}

// hold charges a reservation. Called with outlet.mu held.
func (m *mailbox) hold(r reservation) {
	m.reserved += r.messages
	m.outlet.held += r.held
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
	m.outlet.serveWaiting()
	_ = m.outlet.unlock(nil)
}

// forward queues frames of a segment that the channel has seen.
func (m *mailbox) forward(seg *Segment, frames []byte, messages int) {
	if len(frames) == 0 {
		return
	}
	m.outlet.mu.Lock()
	if !m.open || m.outlet.refuses() {
		_ = m.outlet.unlock(nil)
		return
	}
	// It had a reservation: whether it is larger now is the channel's doing.
	m.enter(entry{frames, messages, len(frames), time.Now(), seg.oldest, shared})
	_ = m.outlet.unlock(nil)
}

// push queues a message from the channel to its client.
func (m *mailbox) push(frame []byte) error {
	m.outlet.mu.Lock()
	if !m.open {
		return m.outlet.unlock(ErrClosed)
	}
	admitted, err := m.fit(1, len(frame), nil)
	if admitted {
		m.enter(entry{frames: frame, messages: 1, held: len(frame), queued: time.Now(), kind: private})
	}
	return m.outlet.unlock(err)
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

// fit tells whether messages are to be queued now. If they do not fit, it does
// what the rule says. seg is where they come from, nil if the channel pushed
// them. Called with outlet.mu held.
func (m *mailbox) fit(messages, held int, seg *Segment) (admitted bool, err error) {
	o := m.outlet
	logged := seg != nil && seg.Logged()
	switch {
	case o.refuses():
		return false, ErrClosed
	case m.fits(messages, held):
	case m.overflow == Disconnect:
		return false, o.overflow(messages)
	case logged && m.overflow == CatchUp:
		m.fallBehind()
		return false, nil
	case m.overflow == DropOldest && m.makeRoom(messages, held):
	default:
		o.hub.meters.drop(DropOverflow, messages)
		m.advance(seg)
		return false, ErrShed
	}
	m.advance(seg)
	return true, nil
}

// fits tells whether there is room. Called with outlet.mu held.
func (m *mailbox) fits(messages, held int) bool {
	o := m.outlet
	queued := m.messages + m.reserved
	return queued == 0 && messages == 1 ||
		queued+messages <= o.config.MailboxSize && o.held+held <= o.config.Bytes
}

// advance notes that a segment of the log has been dealt with. Called with
// outlet.mu held.
func (m *mailbox) advance(seg *Segment) {
	if seg != nil {
		m.pushed = max(m.pushed, seg.Last())
	}
}

// makeRoom sheds what has waited longest, until messages fit or nothing is
// left to shed. Called with outlet.mu held.
func (m *mailbox) makeRoom(messages, held int) bool {
	o := m.outlet
	shed := 0
	for !m.fits(messages, held) {
		e, ok := m.queue.dropOldest()
		if !ok {
			break
		}
		o.entries--
		o.held -= e.held
		m.messages -= e.messages
		shed += e.messages
	}
	o.hub.meters.drop(DropOverflow, shed)
	return m.fits(messages, held)
}

// enter queues an entry that has been admitted. Called with outlet.mu held.
func (m *mailbox) enter(e entry) {
	o := m.outlet
	m.messages += e.messages
	o.hub.meters.depth(m.messages)
	o.queue(&m.queue, e)
	m.lineUp()
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
