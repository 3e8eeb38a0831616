package channels

import "context"

// ReplyTo is a request that is answered later, from any goroutine.
type ReplyTo struct {
	actor *Actor
	ref   Ref
}

// ReplyTo is the request that is being handled. It is to be called within
// HandleIn, which then returns NoReply.
func (c *Context) ReplyTo() ReplyTo { return ReplyTo{c.actor, c.actor.answering} }

// OK answers the request, with nil for {}. What comes after the channel's end
// is not sent.
func (r ReplyTo) OK(response any) { r.actor.reply(r.ref, StatusOK, response) }

// Error answers the request with an error, such as a [Reason].
func (r ReplyTo) Error(response any) { r.actor.reply(r.ref, StatusError, response) }

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
	case a.more().asyncs >= InboxSize:
		return ErrOverloaded
	}
	a.extras.asyncs++
	a.group.Go(func() {
		err := a.guard(func() { f(ctx) })
		a.mu.Lock()
		a.extras.asyncs--
		a.mu.Unlock()
		if err != nil {
			a.fail(err, "async")
		}
	})
	return nil
}
