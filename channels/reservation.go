package channels

import (
	"bytes"
	"time"
)

// A channel that takes a look at what goes to its client has room reserved for
// that in its mailbox, for as long as it takes.

// reserve charges what has not been pushed yet of a segment that the channel
// wants to see before it is queued, as if it were queued already. It returns
// the charge, and false if there is nothing to see.
func (m *mailbox) reserve(seg *Segment) (r reservation, ok bool) {
	o := m.outlet
	o.mu.Lock()
	if !m.listens(seg) {
		_ = o.unlock(nil)
		return r, false
	}
	if _, err := m.sift(seg, Raw, time.Time{}, &r); err != nil {
		m.reserved -= r.messages
		o.held -= r.held
		m.series.drop(DropTooSlow, r.messages)
		return reservation{}, o.unlock(err) == nil
	}
	return r, o.unlock(nil) == nil && r.messages > 0
}

// reservation is room in a mailbox for messages of a segment that are not in it
// yet.
type reservation struct {
	spans    []span
	messages int
	held     int // bytes
}

// span is messages in a row, from index first up to but not including end.
type span struct{ first, end int }

// add adds one more message.
func (r *reservation) add(i int) {
	if n := len(r.spans); n > 0 && r.spans[n-1].end == i {
		r.spans[n-1].end++
	} else {
		r.spans = append(r.spans, span{i, i + 1})
	}
	r.messages++
}

// release gives a reservation back.
func (m *mailbox) release(r reservation) {
	if r.messages == 0 {
		return
	}
	m.outlet.mu.Lock()
	m.reserved -= r.messages
	m.outlet.held -= r.held
	m.outlet.serveWaiting()
	_ = m.outlet.unlock(nil)
}

// forward queues messages of a segment that the channel has seen and left as
// they are. They are copied, so that no more is held than is charged.
func (m *mailbox) forward(seg *Segment, s span) {
	for i := s.first; i < s.end; {
		end := s.end
		if m.overflow == Latest {
			end = i + 1 // each by itself, since it has a key
		}
		m.forwardFrames(seg, i, end-i, bytes.Clone(seg.between(i, end, m.format)))
		i = end
	}
}

// forwardFrames queues what has become of messages that the channel has seen,
// from index first on.
func (m *mailbox) forwardFrames(seg *Segment, first, messages int, frames []byte) {
	if len(frames) == 0 {
		return
	}
	o := m.outlet
	o.mu.Lock()
	if !m.open || o.refuses() {
		_ = o.unlock(nil)
		return
	}
	// It had a reservation: whether it is larger now is the channel's doing.
	key := m.keyOf(seg, first)
	m.supersede(key)
	o.held += len(frames)
	e := m.enter(shared, messages, key)
	e.frames, e.held, e.queued, e.oldest = frames, len(frames), momentOf(time.Now()), seg.oldest
	_ = o.unlock(nil)
}
