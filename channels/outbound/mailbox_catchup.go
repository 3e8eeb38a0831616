package outbound

import "time"

// A channel is live, and segments are queued as they come, or behind: then
// nothing of the log is queued as it comes, the mailbox only knows what has
// been pushed, and the hub brings the rest whenever there is room. What
// follows is the mailbox's part of that.

// fallBehind turns the mailbox behind, instead of overflowing. Called with
// conn.mu held.
func (m *Mailbox) fallBehind() {
	m.catchingUp, m.since = true, momentOf(time.Now())
	m.dedupe.leave()
	if m.roomy() {
		m.owner.CatchUp()
		return
	}
	m.conn.wait(m)
}

// roomy tells whether reading for the mailbox is worth while. Called with
// conn.mu held.
func (m *Mailbox) roomy() bool {
	c := m.conn
	return c.held == 0 || (m.messages+m.reserved)*2 <= m.size && c.held*2 <= c.config.Bytes
}

// Lag is the offset that the mailbox has got to, and whether it is behind.
func (m *Mailbox) Lag() (after int64, behind bool) {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	return m.pushed, m.open && m.catchingUp
}

// Depth is how many messages the mailbox holds, and whether it is behind.
func (m *Mailbox) Depth() (messages int, behind bool) {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	return m.messages, m.open && m.catchingUp
}

// Idle tells whether nothing of what has been routed waits for the client, in whatever
// way.
func (m *Mailbox) Idle() bool {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	return m.open && !m.catchingUp && m.queue.n == 0 && m.reserved == 0 && (m.looks == nil || m.looks.Len() == 0)
}

// Refill queues what has not been pushed yet of a segment, for a mailbox that
// is behind. It returns false if there is no room for all of it; then the
// mailbox is served again once there is. What was read for it is charged to the
// replays.
func (m *Mailbox) Refill(seg *Segment, read bool) bool {
	c := m.conn
	c.mu.Lock()
	defer func() { _ = c.unlock(nil) }()
	if !m.open || !m.catchingUp || c.refuses() {
		return false
	}
	before := c.held
	all, err := m.enqueue(seg, time.Now())
	if read {
		c.borrow(c.held - before)
	}
	return all && err == nil
}

// ReserveMissed is Refill for a channel that wants to see the segment first. It
// also tells whether there is something to see.
func (m *Mailbox) ReserveMissed(seg *Segment, read bool) (seen, all bool) {
	c := m.conn
	c.mu.Lock()
	defer func() { _ = c.unlock(nil) }()
	if !m.open || !m.catchingUp || c.refuses() {
		return false, false
	}
	var r reservation
	before := c.held
	all, err := m.enqueueEach(seg, Raw, time.Time{}, &r)
	if read {
		c.borrow(c.held - before)
	}
	return m.show(seg, r), all && err == nil
}

// AdvanceTo notes that there is nothing for the mailbox up to an offset but what
// has been pushed.
func (m *Mailbox) AdvanceTo(offset int64) {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	if m.catchingUp {
		m.pushed = max(m.pushed, offset)
	}
}

// GoLive turns the mailbox live, if it has still got to just that offset. Called
// with the topic's lock held, so that nothing is routed meanwhile.
func (m *Mailbox) GoLive(after int64) bool {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	if !m.open || !m.catchingUp || m.pushed != after {
		return false
	}
	m.catchingUp = false
	m.conn.metrics.caughtUp(m.since)
	return true
}

// Misses tells whether there may be something for the mailbox, up to an offset,
// that it has not got. One that is not open yet reads the head when it opens.
func (m *Mailbox) Misses(through int64) bool {
	m.conn.mu.Lock()
	defer m.conn.mu.Unlock()
	return m.open && m.pushed < through
}
