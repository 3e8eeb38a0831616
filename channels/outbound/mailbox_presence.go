package outbound

// Who is on a topic a channel is told as a list, and then by what changes. A change that
// is shed would leave its client with a wrong list for ever: the mailbox then passes over
// all further changes, and its owner has it given a fresh list, once there is room. Who
// sends lists and changes does so one after the other, so that a list has in it what was
// passed over before.

// presence is whether a channel is told who is on its topic.
type presence uint8

const (
	untold  presence = iota // it does not want to know
	awaited                 // it is given the list next; changes are passed over
	current                 // it has been given the list, and gets the changes
)

// FollowPresence has the channel told who is on its topic, from the next PushPresence
// on. It returns false if it is already.
func (m *Mailbox) FollowPresence() bool {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	if m.presence != untold {
		return false
	}
	m.presence = awaited
	return true
}

// PushPresence queues the list of who is on the topic, for a channel that waits for it.
// It returns false if there is no room now: less than half of what the mailbox may hold,
// so that a slow client is not sent one list after the other. To a channel that does not
// wait, or has ended, nothing is sent.
//
// A list may be larger than all that the connection may hold. That is none of its client's
// doing: until it has been taken, and no more than half is held, the connection may hold as
// much more.
func (m *Mailbox) PushPresence(frame []byte) bool {
	c := m.conn
	c.mu.Lock()
	defer func() { _ = c.unlock(nil) }()
	switch {
	case !m.open || c.refuses() || m.presence != awaited:
		return true
	case !m.roomy():
		return false
	}
	c.charge(len(frame))
	c.lists = max(c.lists, len(frame))
	e := m.enter(private, 1, noHash)
	e.fill(private, m.counters, frame)
	e.presence = true
	m.presence = current
	return true
}

// AwaitsPresence tells whether the channel waits for the list, and has room for it.
func (m *Mailbox) AwaitsPresence() (awaits, room bool) {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	return m.open && !m.conn.refuses() && m.presence == awaited, m.roomy()
}

// missPresence notes that a list, or a change of it, has been shed. Called with conn.mu
// held.
func (m *Mailbox) missPresence() {
	if m.presence == current {
		m.presence = awaited
		m.owner.AwaitPresence()
	}
}

// shedPresence sheds the changes that came after a list, or a change, that has been shed:
// the list that comes next has them in it. Called with conn.mu held.
func (m *Mailbox) shedPresence() {
	for i := m.queue.n - 1; i >= 0; i-- {
		if i < m.queue.n && m.queue.at(i).presence {
			m.shed(i, DropOverflow)
		}
	}
}

// outdated tells whether a segment is a change of who is on the topic, for which the list,
// or a change, has just been shed: the list that comes next has it in it, and a client
// would apply it after that. Called with conn.mu held.
func (m *Mailbox) outdated(seg *Segment) bool { return seg.presence && m.presence != current }
