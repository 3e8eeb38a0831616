package channels

// A mailbox with the rule Latest queues every message by itself, with the print
// of its key. From when it is full, or while it collects, it also notes in
// newest, by key, the number in the queue of the one message that is there:
// one that comes with the same key takes that one's place, at the end. The
// notes end when the client has taken all.

// keyOf is the print of a message's key, if the mailbox tells messages apart by
// that.
func (m *mailbox) keyOf(seg *Segment, i int) uint64 {
	if m.overflow != Latest {
		return noPrint
	}
	print, _ := seg.digest(keyDigests, i)
	return print
}

// squeeze sheds all but the newest message of each key, and notes these. Called
// with outlet.mu held.
func (m *mailbox) squeeze() {
	if m.overflow != Latest {
		return
	}
	m.newest = make(map[uint64]int)
	q := &m.queue
	for i := len(q.entries) - 1; i >= q.head; i-- {
		key := q.entries[i].key
		if key == noPrint {
			continue
		}
		if _, newer := m.newest[key]; newer {
			m.shed(i, DropSuperseded)
		} else {
			m.newest[key] = q.base + i
		}
	}
}

// supersede sheds the message of a key that is queued, since a newer one comes.
// Called with outlet.mu held.
func (m *mailbox) supersede(key uint64) {
	if number, ok := m.newest[key]; ok {
		delete(m.newest, key)
		m.shed(number-m.queue.base, DropSuperseded)
	}
}
