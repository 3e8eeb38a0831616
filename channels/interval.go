package channels

import "time"

// A mailbox with an interval collects: from the first message on that comes
// while it is not in the writer's line, it keeps out of that until the interval
// is over. Its timer is set only meanwhile. It collects no more than leaves room:
// once half of what the mailbox may hold, or of the connection's bytes, is taken,
// what has been collected goes out before its time. So nothing is shed, no client
// is disconnected and no channel of the connection waits for the sake of what could
// have been sent.

// collect begins to collect before the first message is queued, and ends it
// before what does not wait. Called with outlet.mu held.
func (m *mailbox) collect(k kind) {
	o := m.outlet
	switch {
	case k != shared || m.behind:
		m.flush()
	case !m.inLine && !m.collecting && m.roomy():
		m.collecting = true
		o.collecting = append(o.collecting, m)
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
func (m *mailbox) timeUp() {
	m.outlet.mu.Lock()
	m.flush()
	_ = m.outlet.unlock(nil)
}

// flush puts what has been collected in line. Called with outlet.mu held.
func (m *mailbox) flush() {
	if !m.collecting {
		return
	}
	o := m.outlet
	m.collecting = false
	m.timer.Stop() // if it fires all the same, what is collected next goes early
	for i, other := range o.collecting {
		if other == m {
			last := len(o.collecting) - 1
			o.collecting[i], o.collecting[last] = o.collecting[last], nil
			o.collecting = o.collecting[:last]
			break
		}
	}
	o.entries += m.queue.len()
	if m.queue.len() > 0 && !m.inLine {
		o.line(m)
	}
}

// crowded tells whether what is collected takes room that others may need. Called
// with mu held.
func (o *Outlet) crowded() bool { return len(o.collecting) > 0 && o.held*2 > o.config.Bytes }

// flushAll ends all collecting. Called with mu held.
func (o *Outlet) flushAll() {
	for n := len(o.collecting); n > 0; n = len(o.collecting) {
		o.collecting[n-1].flush()
	}
}
