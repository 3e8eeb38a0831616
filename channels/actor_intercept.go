package channels

import "github.com/sluicehq/sluice/channels/outbound"

// intercept shows a segment's messages to the channel, those that it wants to
// see, and queues what becomes of them between the others.
func (a *Actor) intercept() {
	l, ok := a.mailbox.NextLook()
	if !ok {
		return
	}
	defer a.mailbox.Seen(l)
	for _, s := range l.Spans() {
		if !a.interceptSpan(&l, s) {
			return
		}
	}
}

// interceptSpan returns false if the channel has failed.
func (a *Actor) interceptSpan(l *outbound.Look, s outbound.Span) bool {
	seg := l.Segment
	begin := s.First // messages before begin are done with
	for i := s.First; i < s.End; i++ {
		if !a.intercepts[seg.Event(i)] {
			continue
		}
		a.mailbox.Forward(l, outbound.Span{First: begin, End: i})
		begin = i + 1
		frame, err := a.shown(seg.Message(i))
		if err != nil {
			a.fail(err, seg.Event(i))
			return false
		}
		a.mailbox.Replace(l, i, frame)
	}
	a.mailbox.Forward(l, outbound.Span{First: begin, End: s.End})
	return true
}

// shown is the frame that becomes of a message that the channel has seen, nil
// if it is withheld.
func (a *Actor) shown(m Message) ([]byte, error) {
	var instead any
	var send bool
	handler := a.channel.(OutHandler)
	err := a.guard(func() {
		instead, send = handler.HandleOut(&a.ctx, m.Event, Payload{Data: m.Payload, Binary: m.Binary})
	})
	if err != nil || !send {
		return nil, err
	}
	p, err := payloadOf(instead)
	if err != nil {
		return nil, err
	}
	m.Payload, m.Binary = p.Data, p.Binary
	return a.host.encoder.AppendMessage(nil, a.mailbox.Format(), &m)
}
