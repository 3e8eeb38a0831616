package outbound

import (
	"slices"
	"time"
)

// A mailbox with an interval collects: from the first message on that comes
// while it is not in the writer's line, it keeps out of that until the interval
// is over. Its timer is set only meanwhile. It collects no more than leaves room:
// once half of what the mailbox may hold, or of the connection's bytes, is taken,
// what has been collected goes out before its time, and until the writer has taken it the
// connection may hold as much more. So nothing is shed, no client
// is disconnected and no channel of the connection waits for the sake of what could
// have been sent.

// collect begins to collect before the first message is queued, and ends it
// before what does not wait. Called with conn.mu held.
func (m *Mailbox) collect(k kind) {
	c := m.conn
	switch {
	case k != shared || m.catchingUp:
		m.flush()
	case !m.inLine && !m.collecting && m.roomy():
		m.collecting = true
		c.collects(m)
		if m.timer == nil {
			m.timer = time.AfterFunc(m.interval, m.timeUp)
		} else {
			m.timer.Reset(m.interval)
		}
	}
	if m.collecting && m.newest == nil {
		m.squeeze()
	}
}

// timeUp is called when the interval is over.
func (m *Mailbox) timeUp() {
	m.conn.mu.Lock()
	m.flush()
	_ = m.conn.unlock(nil)
}

// flush puts what has been collected in line. Called with conn.mu held.
func (m *Mailbox) flush() {
	if !m.collecting {
		return
	}
	c := m.conn
	m.collecting = false
	m.timer.Stop() // if it fires all the same, what is collected next goes early
	c.excused = min(c.excused+m.collected(), c.config.Bytes/2)
	c.collected(m)
	c.ready(m, m.queue.len())
}

// collected is how many bytes are charged for what the mailbox holds. Called with
// conn.mu held.
func (m *Mailbox) collected() (held int) {
	for i := range m.queue.n {
		held += m.queue.at(i).held
	}
	return held
}

// collects notes that a mailbox collects. Called with mu held.
func (c *Connection) collects(m *Mailbox) { c.collecting = append(c.collecting, m) }

// collected notes that a mailbox no longer does. Called with mu held.
func (c *Connection) collected(m *Mailbox) {
	i, last := slices.Index(c.collecting, m), len(c.collecting)-1
	c.collecting[i], c.collecting[last] = c.collecting[last], nil
	c.collecting = c.collecting[:last]
}

// crowded tells whether what is collected takes room that others may need. Called
// with mu held.
func (c *Connection) crowded() bool { return len(c.collecting) > 0 && c.held*2 > c.config.Bytes }

// limit is how many bytes may be held. Called with mu held.
func (c *Connection) limit() int { return c.config.Bytes + c.excused + c.lists }

// flushAll ends all collecting. Called with mu held.
func (c *Connection) flushAll() {
	for n := len(c.collecting); n > 0; n = len(c.collecting) {
		c.collecting[n-1].flush()
	}
}
