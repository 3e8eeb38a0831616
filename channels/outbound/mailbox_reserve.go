package outbound

import (
	"bytes"
	"time"

	"github.com/sluicehq/sluice/internal/ring"
)

// A channel that takes a look at what goes to its client has room reserved for
// that in its mailbox, for as long as it takes. What it is going to look at stands
// in the mailbox, in order: to reserve the room and to put it there is one step,
// so that nobody who routes or replays comes between. The actor is told of each.

// Look is a segment that the channel is going to look at.
type Look struct {
	Segment  *Segment
	room     reservation
	replayed bool // it was missed, and not delivered as it came
}

// Spans are the messages to look at.
func (l *Look) Spans() []Span { return l.room.spans }

// Reserve charges what has not been pushed yet of a segment that the channel
// wants to see before it is queued, as if it were queued already. It returns
// false if there is nothing to see.
func (m *Mailbox) Reserve(seg *Segment) bool {
	c := m.conn
	c.mu.Lock()
	if !m.listens(seg) {
		_ = c.unlock(nil)
		return false
	}
	var r reservation
	_, err := m.enqueueEach(seg, Raw, time.Time{}, &r)
	if err != nil {
		m.reserved -= r.messages
		c.discharge(r.held)
		m.counters.drop(DropTooSlow, r.messages)
		r.messages = 0
	}
	seen := m.show(seg, r)
	_ = c.unlock(err)
	return seen
}

// show puts what has been reserved where the channel is going to look. It returns
// false if that is nothing. Called with conn.mu held.
func (m *Mailbox) show(seg *Segment, r reservation) bool {
	if r.messages == 0 {
		return false
	}
	if m.looks == nil {
		m.looks = new(ring.Ring[Look])
	}
	m.looks.Push(Look{seg, r, m.catchingUp && seg.Logged()})
	return true
}

// reservation is room in a mailbox for messages of a segment that are not in it
// yet.
type reservation struct {
	spans    []Span
	messages int
	held     int // bytes
}

// Span is messages in a row, from index first up to but not including end.
type Span struct{ First, End int }

// add adds one more message.
func (r *reservation) add(i int) {
	if n := len(r.spans); n > 0 && r.spans[n-1].End == i {
		r.spans[n-1].End++
	} else {
		r.spans = append(r.spans, Span{i, i + 1})
	}
	r.messages++
}

// NextLook is what the channel looks at next. From then on its bytes are not charged
// any more, and its messages one by one are not, as it is done with them. There is
// nothing once the mailbox has ended.
func (m *Mailbox) NextLook() (Look, bool) {
	m.conn.mu.Lock()
	defer func() { _ = m.conn.unlock(nil) }()
	if m.looks == nil || m.looks.Len() == 0 {
		return Look{}, false
	}
	l := m.looks.Pop()
	m.conn.startLook(l.room.held)
	m.conn.serveWaiting()
	return l, true
}

// Seen notes that the channel is done with what it was looking at.
func (m *Mailbox) Seen(l Look) {
	m.conn.mu.Lock()
	m.conn.endLook(l.room.held)
	_ = m.conn.unlock(nil)
}

// overlook drops what the channel has not looked at, or not been done with, when it
// ends. Called with conn.mu held.
func (m *Mailbox) overlook(replaced bool) {
	for m.looks != nil && m.looks.Len() > 0 {
		m.conn.discharge(m.looks.Pop().room.held)
	}
	reason := m.conn.lost()
	if replaced {
		reason = DropReplaced
	}
	m.counters.drop(reason, m.reserved)
	m.reserved = 0
}

// Forward queues messages that the channel has seen and left as they are. They are
// copied, so that no more is held than is charged.
func (m *Mailbox) Forward(l *Look, s Span) {
	for i := s.First; i < s.End; {
		end := s.End
		if m.overflow == Latest {
			end = i + 1 // each by itself, since it has a key
		}
		m.settle(l, i, end-i, bytes.Clone(l.Segment.between(i, end, m.segments)), DropUnreadable)
		i = end
	}
}

// Replace queues what the channel has made of the message with index i that it has
// seen: nothing, if it withholds it.
func (m *Mailbox) Replace(l *Look, i int, frame []byte) {
	m.settle(l, i, 1, frame, DropWithheld)
}

// settle queues what has become of messages that the channel has seen, from index
// first on. What has become nothing is dropped for the given reason. What has been
// settled is not reserved any more.
func (m *Mailbox) settle(l *Look, first, messages int, frames []byte, nothing DropReason) {
	if messages == 0 {
		return
	}
	c := m.conn
	c.mu.Lock()
	defer func() { _ = c.unlock(nil) }()
	if m.ended {
		return // it has been dropped with the rest
	}
	m.reserved -= messages
	switch {
	case c.refuses():
		m.counters.drop(c.lost(), messages)
	case len(frames) == 0:
		m.counters.drop(nothing, messages)
		c.serveWaiting()
	default: // it had a reservation: whether it is larger now is the channel's doing
		key := m.keyOf(l.Segment, first)
		m.supersede(key)
		c.charge(len(frames))
		e := m.enter(shared, messages, key)
		e.frames, e.held, e.queued, e.oldest = frames, len(frames), momentOf(time.Now()), l.Segment.oldest
		if l.replayed {
			e.oldest = 0
		}
	}
}
