package client

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// add takes a channel in, and joins it.
func (l *loop) add(ch *Channel) {
	if l.channels[ch.topic] != nil {
		ch.state = over
		ch.first <- ErrJoined
		return
	}
	idle := l.idle()
	l.channels[ch.topic] = ch
	switch {
	case l.conn != nil:
		l.join(ch)
	case idle:
		l.pause.Stop()
		l.dial()
	}
}

// join asks for a channel. The answer is awaited as long as it may take.
func (l *loop) join(ch *Channel) {
	params, err := ch.joinParams()
	if err != nil {
		l.end(ch, err)
		return
	}
	ch.state, ch.joinRef, ch.due = joining, l.nextRef(), time.Now().Add(joinTimeout)
	l.schedule(ch.due)
	l.send(message{joinRef: ch.joinRef, ref: ch.joinRef, topic: ch.topic, event: "phx_join", payload: params})
	l.hurry()
}

// joinParams are those of the next join: where to resume, and what the program has beside.
func (ch *Channel) joinParams() (json.RawMessage, error) {
	own, err := json.Marshal(struct {
		After *int64 `json:"after"`
		Last  *int64 `json:"last,omitempty"`
		Epoch string `json:"epoch,omitempty"`
	}{ch.position, ch.last, ch.epoch})
	if err != nil || ch.params == nil {
		return own, err
	}
	var given map[string]json.RawMessage
	text, err := json.Marshal(ch.params())
	if err == nil {
		err = json.Unmarshal(text, &given)
	}
	if err != nil || given == nil {
		return nil, fmt.Errorf("join %q: its params are no JSON object: %w", ch.topic, cmp.Or(err, errNoObject))
	}
	delete(given, "after")
	delete(given, "epoch")
	if ch.last != nil {
		delete(given, "last")
	}
	if len(given) == 0 {
		return own, nil
	}
	more, err := json.Marshal(given)
	return append(append(own[:len(own)-1], ','), more[1:]...), err
}

// answerJoin takes in the server's answer to the last join.
func (l *loop) answerJoin(ch *Channel, r reply) {
	if r.Status != "ok" {
		refused := &JoinError{ch.topic, r.reason(), r.Response}
		if !refused.Temporary() {
			l.end(ch, refused)
			return
		}
		l.rejoinLater(ch, refused)
		return
	}
	var at joinAnswer
	err := json.Unmarshal(r.Response, &at)
	if err == nil && at.Offset < 0 {
		err = fmt.Errorf("its offset is %d", at.Offset)
	}
	if err != nil {
		l.disconnect(fmt.Errorf("decode the answer to the join: %w", err))
		return
	}
	l.notify(Joined{ch.topic, ch.position, at.Offset, at.Resumed})
	if ch.position != nil && !at.Resumed {
		ch.queue.reset(&ResetError{ch.topic, Position{ch.epoch, *ch.position}, Position{at.Epoch, at.Offset}})
	}
	if ch.position == nil || !at.Resumed {
		ch.position = &at.Offset
	}
	ch.epoch, ch.state, ch.due = at.Epoch, joined, time.Time{}
	ch.retry.Reset()
	l.answered = true
	if !ch.met {
		ch.met = true
		ch.first <- nil
	}
	unsent := ch.unsent
	ch.unsent = nil
	for _, p := range unsent {
		l.push(ch, p)
	}
}

// rejoinLater has a channel joined again after a pause.
func (l *loop) rejoinLater(ch *Channel, why error) {
	pause := ch.retry.NextBackOff()
	l.notify(Retrying{ch.topic, why, pause})
	l.wait(ch, time.Now().Add(pause))
	l.schedule(ch.due)
}

// wait has a channel wait until it may be joined, or for a connection if due is zero. What
// it has asked for on the last join is not answered any more.
func (l *loop) wait(ch *Channel, due time.Time) {
	ch.state, ch.due = waiting, due
	l.failSent(ch, ErrUnanswered)
}

// failed has a channel joined again that has failed on the server. If it is the only one,
// then by another connection: that may lead to another node, which does not fail.
func (l *loop) failed(ch *Channel, reason string) {
	err := &ChannelError{ch.topic, reason}
	switch {
	case len(l.channels) == 1:
		l.disconnect(err)
	case ch.state == joining && !ch.met:
		l.end(ch, err)
	default:
		l.rejoinLater(ch, err)
	}
}

// leave leaves a channel, unless it has ended.
func (l *loop) leave(ch *Channel) {
	if l.channels[ch.topic] != ch {
		ch.queue.end(ErrLeft)
		return
	}
	l.end(ch, ErrLeft)
	if ch.joinRef != "" {
		l.send(message{joinRef: ch.joinRef, ref: l.nextRef(), topic: ch.topic, event: "phx_leave", payload: []byte("{}")})
	}
}

// end ends a channel.
func (l *loop) end(ch *Channel, err error) {
	delete(l.channels, ch.topic)
	ch.state, ch.due = over, time.Time{}
	if l.held != nil && l.held.channel == ch {
		l.held = nil
	}
	ch.queue.end(err)
	if !ch.met {
		ch.met = true
		ch.first <- err
	}
	l.failSent(ch, err)
	for _, p := range ch.unsent {
		p.answer <- pushAnswer{err: err}
	}
	ch.unsent = nil
}

func (l *loop) failSent(ch *Channel, err error) {
	for _, p := range ch.pushes {
		p.answer <- pushAnswer{err: err}
	}
	clear(ch.pushes)
}

// push sends a push, or keeps it until the channel is joined.
func (l *loop) push(ch *Channel, p *push) {
	switch ch.state {
	case over:
		p.answer <- pushAnswer{err: ErrLeft}
	case joined:
		ref := l.nextRef()
		ch.pushes[ref] = p
		l.send(message{joinRef: ch.joinRef, ref: ref, topic: ch.topic, event: p.event, payload: p.payload})
		l.hurry()
	default:
		ch.unsent = append(ch.unsent, p)
	}
}

// forget drops a push that is no longer waited for.
func (l *loop) forget(ch *Channel, p *push) {
	maps.DeleteFunc(ch.pushes, func(_ string, other *push) bool { return other == p })
	ch.unsent = slices.DeleteFunc(ch.unsent, func(other *push) bool { return other == p })
}
