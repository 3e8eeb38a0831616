package channels

import "time"

// takeIn queues what has not been pushed yet of a segment. It returns false if
// there is some left that the mailbox has to be given again. Called with
// outlet.mu held.
func (m *mailbox) takeIn(seg *Segment, now time.Time) (all bool, err error) {
	if m.sent != nil || m.newest != nil || m.overflow == Latest && m.interval > 0 {
		return m.sift(seg, m.format, now, nil)
	}
	frames, n, held := seg.After(m.pushed, m.format)
	switch {
	case len(frames) == 0:
		return true, nil
	case !m.fits(n, held, n == 1):
		return m.sift(seg, m.format, now, nil)
	}
	m.outlet.held += held
	m.enter(&entry{frames: frames, segment: seg, first: int32(seg.Len() - n), messages: int32(n),
		held: held, queued: momentOf(now), oldest: seg.oldest})
	if seg.Logged() {
		m.pushed = seg.Last()
		if m.behind {
			m.series.replayed.Add(int64(n))
		}
	}
	return true, nil
}

// sift takes in what has not been pushed yet of a segment, one message after
// the other: what repeats another is withheld, what fits goes in, and about
// what does not the rule decides. With a reservation, nothing is queued: what
// would be is noted there, and charged by its size in the given format. It
// returns false if there is some left. Called with outlet.mu held.
func (m *mailbox) sift(seg *Segment, f Format, now time.Time, r *reservation) (all bool, err error) {
	frames := seg.encoded(f)
	if frames == nil {
		return true, nil
	}
	digests := m.sent.of(seg)
	var taken, withheld, shed int
	replayed := m.behind && seg.Logged()
	defer func() {
		if replayed {
			m.series.replayed.Add(int64(taken))
		}
		m.series.duplicate.Add(int64(withheld))
		m.series.drop(DropOverflow, shed)
	}()
	first, end := seg.from(m.pushed), seg.Len()
	for i := first; i < end; i++ {
		d := digests.digest(i)
		switch {
		case r == nil && len(frames.frames(i, i+1)) == 0: // the format has no form for it
		case d.print != noPrint && m.sent.repeats(d):
			withheld++
		case m.admit(seg, i, len(frames.data), end-first == 1, r):
			if d.print != noPrint {
				m.sent.note(d)
			}
			taken++
			if r == nil {
				m.place(seg, i, frames, now)
			}
		case m.behind && seg.Logged():
			m.outlet.waiting = append(m.outlet.waiting, m) // not served at once: it would ask again and again
			return false, nil
		case m.overflow == CatchUp && seg.Logged():
			m.fallBehind()
			return false, nil
		case m.overflow == Disconnect:
			return false, m.outlet.overflow(m.series, end-i)
		default:
			shed++
		}
		if seg.Logged() {
			m.pushed = seg.offsets[i]
		}
	}
	return true, nil
}

// admit makes room for a message with index i of a segment that is charged with
// held. It returns false if there is none. Called with outlet.mu held.
func (m *mailbox) admit(seg *Segment, i, held int, alone bool, r *reservation) bool {
	if r != nil && r.held > 0 {
		held = 0
	}
	if !m.makeRoom(seg, m.keyOf(seg, i), held, alone) {
		return false
	}
	if r != nil {
		r.add(i)
		r.held += held
		m.reserved++
		m.outlet.held += held
	}
	return true
}

// makeRoom makes room for one message, as far as the rule allows. Called with
// outlet.mu held.
func (m *mailbox) makeRoom(seg *Segment, key uint64, held int, alone bool) bool {
	m.supersede(key)
	fits := func() bool {
		if m.holds(seg) {
			return m.fits(1, 0, alone)
		}
		return m.fits(1, held, alone)
	}
	switch {
	case fits():
		return true
	case m.overflow == Latest && m.newest == nil:
		m.squeeze()
		m.supersede(key)
	case m.overflow != Latest && m.overflow != DropOldest:
		return false
	}
	for !fits() {
		if !m.shedOldest() {
			m.newest = nil // the queue is empty
			return false
		}
	}
	return true
}

// fits tells whether there is room. A connection that holds nothing takes a
// segment of any size, and an empty mailbox one message. Called with outlet.mu
// held.
func (m *mailbox) fits(messages, held int, alone bool) bool {
	o := m.outlet
	queued := m.messages + m.reserved
	return queued == 0 && alone ||
		queued+messages <= m.size && (held == 0 || o.held == 0 || o.held+held <= o.config.Bytes)
}

// holds tells whether what was queued last is of a segment, so that more of it
// costs no more memory. Called with outlet.mu held.
func (m *mailbox) holds(seg *Segment) bool {
	last := m.queue.last()
	return last != nil && seg != nil && last.segment == seg
}

// place queues a message that has been admitted. Messages in a row become one
// entry, unless they leave one by one (see latest.go). The last entry of a
// segment is charged for all of it: while there is one, the segment is in
// memory. Called with outlet.mu held.
func (m *mailbox) place(seg *Segment, i int, frames *encoding, now time.Time) {
	held := len(frames.data)
	if m.holds(seg) {
		last := m.queue.last()
		if m.newest == nil && int(last.first+last.messages) == i {
			last.messages++
			last.frames = frames.frames(int(last.first), i+1)
			m.deepen(1)
			return
		}
		held, last.held = last.held, 0
	} else {
		m.outlet.held += held
	}
	m.enter(&entry{frames: frames.frames(i, i+1), segment: seg, first: int32(i), messages: 1,
		held: held, queued: momentOf(now), oldest: seg.oldest, key: m.keyOf(seg, i)})
}

// shedOldest sheds what has waited longest. It returns false if there is
// nothing to shed. Called with outlet.mu held.
func (m *mailbox) shedOldest() bool {
	i, ok := m.queue.oldest()
	if !ok {
		return false
	}
	e := &m.queue.entries[i]
	surplus := int32(m.messages + m.reserved + 1 - m.size)
	if e.segment == nil || surplus <= 0 || surplus >= e.messages {
		delete(m.newest, e.key)
		m.shed(i, DropOverflow)
		return true
	}
	m.forget(e.segment, e.first, surplus)
	e.first += surplus
	e.messages -= surplus
	e.frames = e.segment.between(int(e.first), int(e.first+e.messages), m.format)
	m.messages -= int(surplus)
	m.series.drop(DropOverflow, int(surplus))
	return true
}

// shed takes the entry with index i out of the queue. If it was charged for its
// segment, and there are others of that left, the one before it is charged from
// then on. Called with outlet.mu held.
func (m *mailbox) shed(i int, reason DropReason) {
	o, q := m.outlet, &m.queue
	e := q.entries[i]
	if e.segment != nil {
		for j := i - 1; j >= max(q.head, i-e.segment.Len()); j-- {
			if before := &q.entries[j]; before.segment == e.segment {
				before.held += e.held
				e.held = 0
			}
			if !q.entries[j].gap() {
				break
			}
		}
		m.forget(e.segment, e.first, e.messages)
	}
	q.remove(i)
	m.messages -= int(e.messages)
	o.held -= e.held
	if !m.collecting {
		o.entries--
	}
	m.series.drop(reason, int(e.messages))
}

// forget takes back that messages of a segment were sent. Called with outlet.mu
// held.
func (m *mailbox) forget(seg *Segment, first, messages int32) {
	digests := m.sent.of(seg)
	if digests == nil {
		return
	}
	for i := first; i < first+messages; i++ {
		m.sent.forget(digests.digest(int(i)))
	}
}
