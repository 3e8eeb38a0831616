package outbound

// A mailbox with the rule Latest is like any other until it is full, or
// collects. From then on it queues every message by itself, with the hash of
// its key, and notes in newest, by key, the number in the queue of the one
// message that is there: one that comes with the same key sheds that one, and
// goes to the end. So it is until the client has taken all.

// keyOf is the hash of a message's key, if the mailbox tells messages apart by
// that.
func (m *Mailbox) keyOf(seg *Segment, i int) uint64 {
	if m.overflow != Latest {
		return noHash
	}
	return seg.fingerprint(keyFingerprints, i).hash
}

// squeeze sheds all but the newest message of each key, and notes these. Called
// with conn.mu held.
func (m *Mailbox) squeeze() {
	if m.overflow != Latest {
		return
	}
	m.newest = make(map[uint64]int)
	m.split()
	q := &m.queue
	for i := q.n - 1; i >= 0; i-- {
		key := q.at(i).key
		if key == noHash {
			continue
		}
		if _, newer := m.newest[key]; newer {
			m.shed(i, DropSuperseded)
		} else {
			m.newest[key] = q.base + i
		}
	}
}

// split makes every message an entry of its own. The last of a segment is
// charged for it. Called with conn.mu held.
func (m *Mailbox) split() {
	joined := m.queue
	q := &m.queue
	*q = queue{base: joined.base}
	for i := range joined.n {
		e := joined.at(i)
		switch {
		case e.gap():
			continue
		case e.segment == nil:
			*q.push() = *e
			continue
		}
		for i := e.first; i < e.first+e.messages; i++ {
			one := q.push()
			*one = *e
			one.first, one.messages = i, 1
			one.frames = e.segment.between(int(i), int(i)+1, m.segments)
			one.key = m.keyOf(e.segment, int(i))
			if i < e.first+e.messages-1 {
				one.held = 0
			}
		}
	}
	if !m.collecting {
		m.conn.add(q.len() - joined.len())
	}
	clear(joined.slots)
	leaveSlots(joined.slots)
}

// supersede sheds the message of a key that is queued, since a newer one comes.
// Called with conn.mu held.
func (m *Mailbox) supersede(key uint64) {
	if m.newest == nil {
		return
	}
	if number, ok := m.newest[key]; ok {
		delete(m.newest, key)
		m.shed(number-m.queue.base, DropSuperseded)
	}
}
