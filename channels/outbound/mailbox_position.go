package outbound

// EventPosition is the event that tells a client its position, with {"offset": N} as
// the payload, in no envelope.
const EventPosition = "sluice_position"

// FollowPositions has the mailbox's client be told positions: it is one that resumes. The
// mailbox must not be open yet.
func (m *Mailbox) FollowPositions() {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	m.positions = true
}

// Position queues a message that tells the client that it has all up to an offset, once
// everything up to there has been routed, whoever it was for. It does so only if the
// mailbox has got to no offset from before on, is live and empty, and its connection is
// at leisure: nothing that the client has not got can be overtaken then. It tells whether
// it did.
func (m *Mailbox) Position(routed, before int64, encode func() []byte) bool {
	c := m.conn
	c.mu.Lock()
	defer func() { _ = c.unlock(nil) }()
	if !m.positions || !m.open || m.catchingUp || m.pushed >= min(before, routed) ||
		m.queue.n > 0 || m.reserved > 0 || c.refuses() || c.held*2 > c.config.Bytes {
		return false
	}
	frame := encode()
	if len(frame) == 0 {
		return false
	}
	c.charge(len(frame))
	m.enter(private, 1, noHash).fill(private, m.counters, frame)
	m.pushed = routed
	return true
}
