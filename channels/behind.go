package channels

import "time"

// A channel is live, and segments are queued as they come, or behind: then
// nothing of the log is queued as it comes, the mailbox only knows what has
// been pushed, and the [Replayer] brings the rest whenever there is room. What
// follows is the mailbox's part of that.

// fallBehind turns the mailbox behind, instead of overflowing. Called with
// outlet.mu held.
func (m *mailbox) fallBehind() {
	m.behind, m.since = true, momentOf(time.Now())
	if m.roomy() {
		m.outlet.hub.replay(m.actor)
		return
	}
	m.outlet.waiting = append(m.outlet.waiting, m)
}

// roomy tells whether reading for the mailbox is worth while. Called with
// outlet.mu held.
func (m *mailbox) roomy() bool {
	o := m.outlet
	return o.held == 0 || (m.messages+m.reserved)*2 <= m.size && o.held*2 <= o.config.Bytes
}

// lag is the offset that the mailbox has got to, and whether it is behind.
func (m *mailbox) lag() (after int64, behind bool) {
	m.outlet.mu.Lock()
	defer m.outlet.mu.Unlock()
	return m.pushed, m.open && m.behind
}

// refill queues what has not been pushed yet of a segment, for a mailbox that
// is behind. It returns false if there is no room for all of it; then the
// mailbox is served again once there is. What was read for it is charged to the
// replays.
func (m *mailbox) refill(seg *Segment, read bool) bool {
	o := m.outlet
	o.mu.Lock()
	defer func() { _ = o.unlock(nil) }()
	if !m.open || !m.behind || o.refuses() {
		return false
	}
	before := o.held
	all, err := m.takeIn(seg, time.Now())
	if read {
		o.borrow(o.held - before)
	}
	return all && err == nil
}

// reserveMissed is refill for a channel that wants to see the segment first. It
// also tells whether there is something to see.
func (m *mailbox) reserveMissed(seg *Segment, read bool) (seen, all bool) {
	o := m.outlet
	o.mu.Lock()
	defer func() { _ = o.unlock(nil) }()
	if !m.open || !m.behind || o.refuses() {
		return false, false
	}
	var r reservation
	before := o.held
	all, err := m.sift(seg, Raw, time.Time{}, &r)
	if read {
		o.borrow(o.held - before)
	}
	return m.show(seg, r), all && err == nil
}

// passed notes that there is nothing for the mailbox up to an offset but what
// has been pushed.
func (m *mailbox) passed(offset int64) {
	m.outlet.mu.Lock()
	defer m.outlet.mu.Unlock()
	if m.behind {
		m.pushed = max(m.pushed, offset)
	}
}

// live turns the mailbox live, if it has still got to just that offset. Called
// with the topic's lock held, so that nothing is routed meanwhile.
func (m *mailbox) live(after int64) bool {
	m.outlet.mu.Lock()
	defer m.outlet.mu.Unlock()
	if !m.open || !m.behind || m.pushed != after {
		return false
	}
	m.behind = false
	m.outlet.hub.meters.caughtUp(m.since)
	return true
}

// misses tells whether there may be something for the mailbox, up to an offset,
// that it has not got. One that is not open yet reads the head when it opens.
func (m *mailbox) misses(through int64) bool {
	m.outlet.mu.Lock()
	defer m.outlet.mu.Unlock()
	return m.open && m.pushed < through
}
