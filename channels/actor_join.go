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
	if j.resume != nil {
		a.mailbox.FollowPositions()
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
	if j.resume != nil && j.resume.Last > 0 && d.MaxLast < 0 {
		a.turnDown(j, &Rejection{Response: Reason(string(outbound.JoinForbidden))})
		return
	}
	if !a.subscribe() {
		return
	}
	hub := a.host.hub
	from, err := a.begins(j.resume, d.MaxLast)
	if err != nil { // whether it can resume is not known: the client asks again
		if !a.hasEnded() {
			a.log(err, "phx_join")
		}
		a.turnDown(j, &Rejection{Response: Reason("unavailable")})
		return
	}
	err = a.mailbox.Join(from.after, from.replays, func(head int64) ([]byte, error) {
		answer := response
		if from.counted {
			head = from.after
		}
		if j.resume != nil {
			answer = j.resume.answer(response, head, hub.Epoch(), from.resumed)
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

// beginning is where in the log a channel begins.
type beginning struct {
	after   int64 // -1: at the log's head
	replays bool  // what is after that is replayed; otherwise it is the log's head that counts, where that is higher
	resumed bool  // the client gets all that it asked for
	counted bool  // after is where the topic's last events begin
}

// begins tells where the channel begins, at most so many of the topic's events from its
// end if the client asks for some of them.
func (a *Actor) begins(r *Resume, maxLast int) (from beginning, err error) {
	from, err = a.resumes(r)
	if err != nil || r == nil || r.Last == 0 || from.replays && from.after >= 0 {
		return from, err
	}
	if host := a.host; host.history == nil || host.hub.replayer.Load() == nil {
		return from, nil // nothing can be replayed
	}
	from.after, err = a.findTail(int(min(r.Last, int64(maxLast))), from.after)
	from.replays, from.counted = true, true
	return from, err
}

// resumes tells where the channel goes on, as far as that is said by an offset.
func (a *Actor) resumes(r *Resume) (beginning, error) {
	if r == nil || r.After < 0 {
		return beginning{after: -1, replays: true, resumed: true}, nil
	}
	host := a.host
	if host.history == nil || host.hub.replayer.Load() == nil {
		return beginning{after: -1, resumed: r.After == host.hub.Head() && (r.Epoch == "" || r.Epoch == host.hub.Epoch())}, nil
	}
	from, whole, err := host.history.Resume(a.base, r.Epoch, r.After)
	switch {
	case err != nil:
		return beginning{}, err
	case !whole:
		return beginning{after: from}, nil
	}
	return beginning{after: r.After, replays: true, resumed: true}, nil
}

// hasEnded tells whether nobody waits for the answer to the join.
func (a *Actor) hasEnded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.over
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
