package channels

// intercept shows a segment's messages to the channel, those that it wants to
// see, and queues what becomes of them between the others.
func (a *Actor) intercept() {
	l, ok := a.mailbox.toSee()
	if !ok {
		return
	}
	defer a.mailbox.seen(l)
	for _, s := range l.spans() {
		if !a.interceptSpan(l.segment, s) {
			return
		}
	}
}

// interceptSpan returns false if the channel has failed.
func (a *Actor) interceptSpan(seg *Segment, s span) bool {
	begin := s.first // messages before begin are done with
	for i := s.first; i < s.end; i++ {
		if !a.intercepts[seg.event(i)] {
			continue
		}
		a.mailbox.forward(seg, span{begin, i})
		begin = i + 1
		frame, err := a.shown(seg.message(i))
		if err != nil {
			a.fail(err, seg.event(i))
			return false
		}
		a.mailbox.replace(seg, i, frame)
	}
	a.mailbox.forward(seg, span{begin, s.end})
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
	return a.host.encoder.AppendMessage(nil, a.mailbox.wireFormat(), &m)
}
