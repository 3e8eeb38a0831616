package channels

import (
	"errors"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// pendingJoin is what an actor knows only until it has answered the join.
type pendingJoin struct {
	ref     outbound.Ref
	factory Factory
	params  Payload
	charge  int // bytes inbound
	resume  *Resume
	options Options
	arrived time.Time
}

// join asks the Channel, and answers the client. The order leaves no gap: the
// channel subscribes first, and then the mailbox opens with the log's head.
func (a *Actor) join(j *pendingJoin) {
	var reply any
	var err error
	crash := a.guard(func() {
		channel := j.factory()
		a.mu.Lock()
		a.channel = channel
		a.mu.Unlock()
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
	d := j.options
	d.Overflow = a.host.overflow(d.Overflow, j.resume != nil)
	a.mailbox.Configure(d, a.intercepts != nil)
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
	after, resumed, err := a.resumes(j.resume)
	if err != nil { // whether it can resume is not known: the client asks again
		a.log(err, "phx_join")
		a.turnDown(j, &Rejection{Response: Reason("unavailable")})
		return
	}
	err = a.mailbox.Join(after, resumed, func(head int64) ([]byte, error) {
		answer := response
		if j.resume != nil {
			answer = j.resume.answer(response, head, hub.Epoch(), resumed)
		}
		return a.host.encoder.AppendReply(nil, a.mailbox.Format(), a.address(j.ref), outbound.StatusOK, answer)
	})
	switch {
	case err == nil:
		a.counted(outbound.JoinOK, j)
		a.settle()
	case !errors.Is(err, ErrClosed) && !errors.Is(err, ErrOverflow):
		a.turnDown(j, err)
	}
}

// resumes is the offset that the channel goes on after, and whether the client
// gets all that it asked for. If it does not, or the offset is -1, then the
// channel goes on after the log's head where that is higher.
func (a *Actor) resumes(r *Resume) (after int64, resumed bool, err error) {
	if r == nil || r.After < 0 {
		return -1, true, nil
	}
	host := a.host
	if host.history == nil || host.hub.replayer.Load() == nil {
		return -1, r.After == host.hub.Head() && (r.Epoch == "" || r.Epoch == host.hub.Epoch()), nil
	}
	from, whole, err := host.history.Resume(a.base, r.Epoch, r.After)
	switch {
	case err != nil:
		return -1, false, err
	case !whole:
		return from, false, nil
	}
	return r.After, true, nil
}

// subscribe enters the actor with the hub, unless the actor has been ended.
func (a *Actor) subscribe() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.over {
		a.subscription.Enter(a.mailbox.Needs())
		a.subscribed = true
	}
	return !a.over
}

// turnDown answers a join with an error, and ends the channel.
func (a *Actor) turnDown(j *pendingJoin, err error) {
	why, response := outbound.JoinFailed, Reason("join crashed")
	var rejection *Rejection
	var crash *PanicError
	switch {
	case errors.As(err, &rejection):
		why, response = rejection.reason(), rejection.Response
	case errors.As(err, &crash):
		why = outbound.JoinPanicked
		fallthrough
	default:
		a.log(err, "phx_join")
	}
	p, err := payloadOf(response)
	if err != nil {
		a.log(err, "phx_join")
		p = emptyObject
	}
	a.end(err, a.encodeReply(j.ref, outbound.StatusError, p))
	a.counted(why, j)
}

// counted counts a join that has been answered.
func (a *Actor) counted(why outbound.JoinReason, j *pendingJoin) {
	a.mailbox.CountJoin(why)
	a.host.hub.metrics.joinTime.Observe(time.Since(j.arrived))
}
