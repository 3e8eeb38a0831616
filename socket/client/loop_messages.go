package client

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/gobwas/ws"
)

// take handles a frame.
func (l *loop) take(f frame) {
	switch {
	case f.op == ws.OpPing:
		if err := l.conn.write(ws.NewPongFrame(f.data)); err != nil {
			l.disconnect(err)
		}
		return
	case f.op == ws.OpBinary:
		l.notify(Skipped{Reason: Binary, Bytes: f.size})
		return
	case f.size > int64(len(f.data)):
		l.passOver(f, TooLarge, nil)
		return
	}
	m, err := decode(f.data)
	if err != nil {
		l.passOver(f, Unreadable, err)
		return
	}
	if m.event == "phx_reply" && m.topic == "phoenix" && m.ref == l.heartbeatRef {
		l.heartbeatRef, l.answered = "", true
		return
	}
	ch := l.channels[m.topic]
	switch {
	case ch == nil: // left
	case m.event == "phx_reply":
		l.takeReply(ch, m)
	case m.joinRef != "" && m.joinRef != ch.joinRef: // of a join that another has replaced
	case m.event == "phx_error":
		l.failed(ch, reply{Response: m.payload}.reason())
	case m.event == "phx_close":
		l.end(ch, ErrChannelClosed)
	case ch.state == joined:
		l.takeEvent(ch, m)
	}
}

func (l *loop) takeReply(ch *Channel, m message) {
	isJoin := ch.state == joining && m.ref == ch.joinRef
	p := ch.pushes[m.ref]
	if !isJoin && p == nil { // to a leave, or to what is no longer waited for
		return
	}
	var r reply
	err := json.Unmarshal(m.payload, &r)
	switch {
	case isJoin && err != nil:
		l.disconnect(fmt.Errorf("decode the answer to the join: %w", err))
	case isJoin:
		l.answerJoin(ch, r)
	default:
		delete(ch.pushes, m.ref)
		p.answer <- pushAnswer{r, err}
	}
}

func (l *loop) takeEvent(ch *Channel, m message) {
	offset, payload := m.unwrap()
	if offset != 0 && offset <= *ch.position {
		if m.event == PositionEvent {
			return
		}
		l.notify(Skipped{Reason: Repeated, Topic: ch.topic, Event: m.event, Offset: offset, Bytes: int64(len(payload))})
		return
	}
	if ch.dropping {
		return
	}
	e := Event{Topic: ch.topic, Name: m.event, Payload: payload, Offset: offset, Epoch: ch.epoch}
	if l.deliver(ch, e) {
		return
	}
	l.held = &held{ch, e, time.Now().Add(Grace)}
	l.schedule(l.held.until)
	l.hurry()
}

// deliver queues an event, if there is room, and moves the position past it.
func (l *loop) deliver(ch *Channel, e Event) bool {
	if !ch.queue.put(e, false) {
		return false
	}
	if e.Offset != 0 {
		ch.position = &e.Offset
	}
	return true
}

// hurry has an event give up waiting for room if an answer is awaited, since that comes after
// it.
func (l *loop) hurry() {
	if l.held == nil {
		return
	}
	for _, ch := range l.channels {
		if ch.state == joining || len(ch.pushes) > 0 {
			l.fallBehind()
			return
		}
	}
}

// fallBehind drops the event that has waited for room, and what follows on its channel, until the
// program has caught up.
func (l *loop) fallBehind() {
	h := l.held
	l.held = nil
	if h.channel.queue.put(h.event, true) {
		if h.event.Offset != 0 {
			h.channel.position = &h.event.Offset
		}
		return
	}
	h.channel.dropping = true
	l.notify(Skipped{Reason: Behind, Topic: h.event.Topic, Event: h.event.Name, Offset: h.event.Offset, Bytes: int64(len(h.event.Payload))})
}

// makeRoom goes on where the program has taken something.
func (l *loop) makeRoom() {
	if h := l.held; h != nil && l.deliver(h.channel, h.event) {
		l.held = nil
	}
	for _, ch := range l.channels {
		if !ch.dropping || !ch.queue.catchUp() {
			continue
		}
		ch.dropping = false
		if ch.state == joined { // else a join comes, or is to be answered yet
			l.failSent(ch, ErrUnanswered)
			l.join(ch)
		}
	}
}

// passOver leaves out a message that cannot be read. Its position is read as far
// as need be, or it would come again with the next connection, for ever.
func (l *loop) passOver(f frame, reason SkipReason, why error) {
	topic, event, offset, ok := identify(f.data)
	if ch := l.channels[topic]; ok && ch != nil && ch.state == joined && !ch.dropping && offset > *ch.position {
		ch.position = &offset
	}
	l.notify(Skipped{reason, topic, event, offset, f.size, why})
}
