package channels

import (
	"errors"
	"time"
)

// joining is what an actor knows only until it has answered the join.
type joining struct {
	ref     Ref
	factory Factory
	params  Payload
	resume  *Resume
	arrived time.Time
}

// join asks the Channel, and answers the client. The order leaves no gap: the
// channel subscribes first, and then the mailbox opens with the log's head.
func (a *Actor) join(j *joining) {
	var reply any
	var err error
	crash := a.guard(func() {
		a.channel = j.factory()
		if handler, ok := a.channel.(OutHandler); ok {
			a.intercepts = make(map[string]bool)
			for _, event := range handler.Intercepts() {
				a.intercepts[event] = true
			}
		}
		reply, err = a.channel.Join(&a.ctx, j.params)
	})
	if crash != nil {
		err = crash
	}
	a.joined = err == nil
	var response Payload
	if err == nil {
		response, err = payloadOf(reply)
	}
	if err != nil {
		a.turnDown(j, err)
		return
	}
	if !a.subscribe() {
		return
	}
	hub := a.host.hub
	err = a.mailbox.join(func(head int64) ([]byte, error) {
		answer := response
		if j.resume != nil {
			answer = j.resume.answer(response, head, hub.Epoch())
		}
		to := a.to
		to.Ref = j.ref
		return a.host.encoder.AppendReply(nil, a.mailbox.format, to, StatusOK, answer)
	})
	switch {
	case err == nil:
		hub.meters.joined(joinOK, j.arrived)
	case !errors.Is(err, ErrClosed) && !errors.Is(err, ErrOverflow):
		a.turnDown(j, err)
	}
}

// subscribe enters the actor with the hub, unless the actor has been ended.
func (a *Actor) subscribe() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		formats := Formats(a.mailbox.format)
		if a.intercepts != nil {
			formats |= Formats(Raw)
		}
		a.subscription = a.host.hub.Subscribe(a.to.Topic, formats, a)
	}
	return !a.over
}

// turnDown answers a join with an error, and ends the channel.
func (a *Actor) turnDown(j *joining, err error) {
	status, response := joinCrashed, Reason("join crashed")
	var rejection *Rejection
	if errors.As(err, &rejection) {
		status, response = joinRejected, rejection.Response
	} else {
		a.log(err, "phx_join")
	}
	p, err := payloadOf(response)
	if err != nil {
		a.log(err, "phx_join")
		p = emptyObject
	}
	a.end(err, a.encodeReply(j.ref, StatusError, p))
	a.host.hub.meters.joined(status, j.arrived)
}
