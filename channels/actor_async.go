package channels

import (
	"context"

	"github.com/sluicehq/sluice/channels/outbound"
)

// ReplyTo is a request that is answered later, from any goroutine.
type ReplyTo struct {
	actor *Actor
	ref   outbound.Ref
}

// ReplyTo is the request that is being handled. It is to be called within
// HandleIn, which then returns NoReply.
func (c *Context) ReplyTo() ReplyTo { return ReplyTo{c.actor, c.actor.currentRef} }

// OK answers the request, with nil for {}. What comes after the channel's end
// is not sent.
func (r ReplyTo) OK(response any) { r.actor.reply(r.ref, outbound.StatusOK, response) }

// Error answers the request with an error, such as a [Reason].
func (r ReplyTo) Error(response any) { r.actor.reply(r.ref, outbound.StatusError, response) }

// Async runs f, which may take its time, while the channel goes on. The context
// that f gets ends with the channel, and with it f should. If f panics, the
// channel ends as if its handler had. It returns ErrOverloaded if too many are
// running.
func (c *Context) Async(f func(context.Context)) error {
	a := c.actor
	ctx := a.context()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.over:
		return ErrClosed
	case a.rareState().asyncs >= InboxSize:
		return ErrOverloaded
	}
	a.rare.asyncs++
	a.group.Go(func() {
		err := a.guard(func() { f(ctx) })
		a.mu.Lock()
		a.rare.asyncs--
		a.mu.Unlock()
		if err != nil {
			a.fail(err, "async")
		}
	})
	return nil
}

// rareState is what few channels have. The actor's mutex guards it.
type rareState struct {
	timers  map[*Timer]struct{} // nil until there was one
	tracked []tracked           // presences
	asyncs  int                 // functions that Async runs
	done    context.Context     // nil until somebody asks for it
	cancel  context.CancelFunc
}

func (a *Actor) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.rareState()
	if x.done == nil {
		x.done, x.cancel = context.WithCancel(a.base)
		if a.over {
			x.cancel()
		}
	}
	return x.done
}

// rareState is the actor's, from now on. Called with mu held.
func (a *Actor) rareState() *rareState {
	if a.rare == nil {
		a.rare = new(rareState)
	}
	return a.rare
}

// end stops what is under way.
func (x *rareState) end() {
	for t := range x.timers {
		t.timer.Stop()
	}
	x.timers = nil
	for _, each := range x.tracked {
		each.Leave()
	}
	x.tracked = nil
	if x.cancel != nil {
		x.cancel()
	}
}
