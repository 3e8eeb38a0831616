package outbound

import "time"

// enqueue queues what has not been pushed yet of a segment: as one entry,
// whatever the number of its messages. It returns false if there is some left
// that the mailbox has to be given again.
//
// It decides for all messages together what enqueueEach decides for each, with the
// same result (TestASegmentIsTakenLikeItsMessages). Where nothing tells messages
// apart that is what keeps a delivery as cheap for a batch as for one message: one
// algorithm for both would look at every message. Called with conn.mu held.
func (m *Mailbox) enqueue(seg *Segment, now time.Time) (all bool, err error) {
	switch {
	case m.newest != nil || m.overflow == Latest && (m.interval > 0 || m.dedupe != nil):
		return m.enqueueEach(seg, m.segments, now, nil)
	case m.dedupe != nil && seg.Logged():
		return m.enqueueDeduped(seg, now)
	}
	frames := seg.encoded(m.segments)
	first, end := seg.from(m.pushed), seg.Len()
	switch {
	case frames == nil || first == end:
		return true, nil
	case frames.start(first) == frames.start(end):
		m.counters.drop(DropUnreadable, end-first)
		return true, nil
	}
	held, alone, next := len(frames.data), end-first == 1, first
	if m.overflow == DropOldest {
		next += m.makeWay(seg, end-first, held)
	}
	if m.outdated(seg) {
		m.overflowed(seg, end-first)
		return true, nil
	}
	n := min(end-next, m.room(seg, held, alone))
	if next+n < end && m.overflow == Latest {
		return m.enqueueEach(seg, m.segments, now, nil)
	}
	m.overflowed(seg, next-first)
	if n > 0 {
		m.append(seg, next, n, frames, now)
		next += n
	}
	if seg.Logged() {
		if m.catchingUp {
			m.counters.replayed.Add(int64(n))
		}
		if next > first {
			m.pushed = seg.offsets[next-1]
		}
	}
	if next == end {
		return true, nil
	}
	if shed, err := m.onFull(seg, end-next); !shed {
		return false, err
	}
	m.overflowed(seg, end-next)
	if seg.Logged() {
		m.pushed = seg.Last()
	}
	return true, nil
}

// enqueueDeduped is enqueue for a mailbox that withholds repeats. Where it tells them by
// what it has in common with others, and there is room for all that is left, it does not
// look at each message; the result is that of enqueueEach (TestSharedWindowsLikeOwn).
// Called with conn.mu held.
func (m *Mailbox) enqueueDeduped(seg *Segment, now time.Time) (all bool, err error) {
	d, frames := m.dedupe, seg.encoded(m.segments)
	first, end := seg.from(m.pushed), seg.Len()
	if frames == nil || first == end {
		d.leave() // others may take it
		return true, nil
	}
	live := !m.catchingUp
	if live {
		d.share(seg, false)
	}
	if repeats, shared := d.withheld(seg, first); shared && !frames.gaps {
		left := end - first - len(repeats)
		if left == 0 || m.room(seg, len(frames.data), end-first == 1) >= left {
			next := first
			for _, i := range repeats {
				m.appendSome(seg, next, i-next, frames, now)
				next = i + 1
			}
			m.appendSome(seg, next, end-next, frames, now)
			m.counters.duplicate.Add(int64(len(repeats)))
			m.pushed = seg.Last()
			d.taken()
			return true, nil
		}
	}
	all, err = m.enqueueEach(seg, m.segments, now, nil)
	if live && all && err == nil && !m.catchingUp {
		d.share(seg, true)
	}
	return all, err
}

// overflowed counts messages of a segment that have been shed before they were queued.
// Called with conn.mu held.
func (m *Mailbox) overflowed(seg *Segment, messages int) {
	m.counters.drop(DropOverflow, messages)
	if seg.presence && messages > 0 {
		m.missPresence()
	}
}

// onFull decides about the last messages of a segment, the first of which does
// not fit: whether it is to be shed, or else what happens to the mailbox. Called
// with conn.mu held.
func (m *Mailbox) onFull(seg *Segment, messages int) (shed bool, err error) {
	collected := len(m.conn.collecting) > 0
	m.conn.flushAll()
	switch {
	case m.catchingUp && seg.Logged():
		m.conn.wait(m) // not served at once: it would ask again and again
		return false, nil
	case m.overflow == CatchUp && seg.Logged(),
		collected && m.overflow == Disconnect && seg.Logged() && m.conn.source.Replays() != nil: // that was in the way, not the client
		m.fallBehind()
		return false, nil
	case m.overflow == Disconnect:
		if seg.Logged() {
			m.pushed = seg.Last()
		}
		return false, m.conn.giveUp(m.counters, messages)
	}
	return true, nil
}

// enqueueEach queues what has not been pushed yet of a segment, one message after
// the other: what repeats another is withheld, what fits goes in, and about
// what does not the rule decides. With a reservation, nothing is queued: what
// would be is noted there, and charged by its size in the given format. It
// returns false if there is some left. Called with conn.mu held.
func (m *Mailbox) enqueueEach(seg *Segment, f Format, now time.Time, r *reservation) (all bool, err error) {
	frames := seg.encoded(f)
	if frames == nil {
		return true, nil
	}
	window, fingerprints := m.dedupe.alone(seg)
	var taken, withheld, shed, unreadable int
	replayed := m.catchingUp && seg.Logged()
	defer func() {
		if replayed {
			m.counters.replayed.Add(int64(taken))
		}
		m.counters.duplicate.Add(int64(withheld))
		m.overflowed(seg, shed)
		m.counters.drop(DropUnreadable, unreadable)
	}()
	first, end := seg.from(m.pushed), seg.Len()
	for i := first; i < end; i++ {
		d := fingerprints.fingerprint(i)
		switch {
		case r == nil && len(frames.frames(i, i+1)) == 0:
			unreadable++
		case d.hash != noHash && window.repeats(d):
			withheld++
		case m.hasRoom(seg, i, len(frames.data), end-first == 1, r):
			if d.hash != noHash {
				window.note(d)
			}
			taken++
			if r == nil {
				m.append(seg, i, 1, frames, now)
			}
		default:
			if shed, err := m.onFull(seg, end-i); !shed {
				return false, err
			}
			shed++
		}
		if seg.Logged() {
			m.pushed = seg.offsets[i]
		}
	}
	return true, nil
}

// hasRoom makes room for a message with index i of a segment that is charged with
// held. It returns false if there is none. Called with conn.mu held.
func (m *Mailbox) hasRoom(seg *Segment, i, held int, alone bool, r *reservation) bool {
	if r != nil && r.held > 0 {
		held = 0
	}
	if !m.makeRoom(seg, m.keyOf(seg, i), held, alone) || m.outdated(seg) {
		return false
	}
	if r != nil {
		r.add(i)
		r.held += held
		m.reserved++
		m.conn.charge(held)
	}
	return true
}

// makeRoom makes room for one message, as far as the rule allows. Called with
// conn.mu held.
func (m *Mailbox) makeRoom(seg *Segment, key uint64, held int, alone bool) bool {
	m.supersede(key)
	switch {
	case m.room(seg, held, alone) > 0:
		return true
	case m.overflow == Latest && m.newest == nil:
		m.squeeze()
		m.supersede(key)
	case m.overflow != Latest && m.overflow != DropOldest:
		return false
	}
	for m.room(seg, held, alone) == 0 {
		if !m.shedOldest(1) {
			m.newest = nil // the queue is empty
			return false
		}
	}
	return true
}

// room is how many more messages fit, of a segment that is charged with held. A
// connection that holds nothing takes a segment of any size, and an empty
// mailbox one message. Where bytes are short, what is collected has to go. Called with
// conn.mu held.
func (m *Mailbox) room(seg *Segment, held int, alone bool) int {
	c := m.conn
	queued := m.messages + m.reserved
	switch {
	case queued == 0 && alone:
		return 1
	case c.held == 0 || c.held+held <= c.limit() || held == 0 || m.holds(seg):
		return max(0, m.size-queued)
	case len(c.collecting) == 0:
		return 0
	}
	if c.flushAll(); c.held+held > c.limit() {
		return 0
	}
	return max(0, m.size-queued)
}

// holds tells whether what was queued last is of a segment, so that more of it
// costs no more memory. Called with conn.mu held.
func (m *Mailbox) holds(seg *Segment) bool {
	last := m.queue.last()
	return last != nil && seg != nil && last.segment == seg
}

// makeWay sheds what has waited longest, for the last messages of a segment. It
// returns how many of these there can be no room for. Called with conn.mu
// held.
func (m *Mailbox) makeWay(seg *Segment, messages, held int) (skipped int) {
	kept := max(0, min(messages, m.size-m.reserved))
	for m.room(seg, held, messages == 1) < kept && m.shedOldest(kept) {
	}
	return messages - kept
}

// appendSome is append, if there are any. Called with conn.mu held.
func (m *Mailbox) appendSome(seg *Segment, first, messages int, frames *encoding, now time.Time) {
	if messages > 0 {
		m.append(seg, first, messages, frames, now)
	}
}

// append queues messages that have been admitted. Messages in a row become one
// entry, unless they leave one by one (see mailbox_latest.go). The last entry of a
// segment is charged for all of it: while there is one, the segment is in
// memory. Called with conn.mu held.
func (m *Mailbox) append(seg *Segment, first, messages int, frames *encoding, now time.Time) {
	held, key := len(frames.data), uint64(noHash)
	if messages == 1 { // several are told apart once they are split
		key = m.keyOf(seg, first)
	}
	if m.holds(seg) {
		last := m.queue.last()
		if m.newest == nil && int(last.first+last.messages) == first {
			last.messages += int32(messages)
			last.frames = frames.frames(int(last.first), first+messages)
			m.deepen(messages)
			return
		}
		held, last.held = last.held, 0
	} else {
		m.conn.charge(held)
	}
	e := m.enter(shared, messages, key)
	e.frames, e.segment, e.first = frames.frames(first, first+messages), seg, int32(first)
	e.held, e.queued, e.oldest, e.presence = held, momentOf(now), seg.oldest, seg.presence
	if m.catchingUp { // when that was inserted tells nothing of how fast delivery is
		e.oldest = 0
	}
}

// shedOldest sheds what has waited longest, for so many messages, but no more
// of one entry than these need. It returns false if there is nothing to shed.
// Called with conn.mu held.
func (m *Mailbox) shedOldest(messages int) bool {
	i, ok := m.queue.oldest()
	if !ok {
		return false
	}
	e := m.queue.at(i)
	surplus := int32(m.messages + m.reserved + messages - m.size)
	if e.segment == nil || surplus <= 0 || surplus >= e.messages {
		delete(m.newest, e.key)
		m.shed(i, DropOverflow)
		return true
	}
	m.forget(e.segment, e.first, surplus)
	e.first += surplus
	e.messages -= surplus
	e.frames = e.segment.between(int(e.first), int(e.first+e.messages), m.segments)
	m.messages -= int(surplus)
	m.counters.drop(DropOverflow, int(surplus))
	return true
}

// shed takes the entry with index i out of the queue. If it was charged for its
// segment, and there are others of that left, the one before it is charged from
// then on. Called with conn.mu held.
func (m *Mailbox) shed(i int, reason DropReason) {
	c, q := m.conn, &m.queue
	e := q.at(i)
	messages, held, presence := int(e.messages), e.held, e.presence
	if e.segment != nil {
		for j := i - 1; j >= max(0, i-e.segment.Len()); j-- {
			before := q.at(j)
			if before.segment == e.segment {
				before.held += held
				held = 0
			}
			if !before.gap() {
				break
			}
		}
		m.forget(e.segment, e.first, e.messages)
	}
	q.remove(i)
	m.messages -= messages
	c.discharge(held)
	if !m.collecting {
		c.add(-1)
	}
	m.counters.drop(reason, messages)
	if presence && m.presence == current {
		m.missPresence()
		m.shedPresence()
	}
}

// forget takes back that messages of a segment were sent. Called with conn.mu
// held.
func (m *Mailbox) forget(seg *Segment, first, messages int32) {
	window, fingerprints := m.dedupe.alone(seg)
	if fingerprints == nil {
		return
	}
	for i := first; i < first+messages; i++ {
		window.forget(fingerprints.fingerprint(int(i)))
	}
}
