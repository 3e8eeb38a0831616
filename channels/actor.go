package channels

import (
	"context"
	"runtime/debug"
	"sync"
	"time"
)

// InboxSize is how many of a client's messages may wait for one channel. What comes
// on top is answered "overloaded".
const InboxSize = 64

// Actor runs one Channel for one client: it handles the client's messages in
// order, one at a time, in a goroutine that exists only while there is something
// to handle. All methods may be called concurrently.
type Actor struct {
	// Immutable after Host.Join.
	host   *Host
	to     Address // Ref is empty
	socket *Socket
	base   context.Context
	group  *sync.WaitGroup
	ended  func(*Actor)
	ctx    Context
	loop   func() // run, made once so that starting it allocates nothing

	// Guarded by the outlet.
	mailbox mailbox

	mu sync.Mutex

	// Guarded by mu.
	inbox        []Inbound // bounded by InboxSize, leaving aside
	running      bool      // the goroutine exists
	over         bool      // End was called
	reason       error     // why
	subscription *Subscription
	done         context.Context // nil until somebody asks for it
	cancel       context.CancelFunc

	// Owned by run.
	channel    Channel  // nil until the join is handled
	joining    *joining // nil once the join has been answered
	joined     bool     // Join has accepted
	terminated bool
}

// Inbound is a message from a client to its channel.
type Inbound struct {
	Event   string
	Ref     Ref
	Payload Payload
}

// leave is the event with which a client leaves.
const leave = "phx_leave"

// JoinRef is the join's identity, as the client gave it.
func (a *Actor) JoinRef() Ref { return a.to.JoinRef }

// Receive hands a message from the client to the channel. It does not
// block: if too much is waiting already, the client is told so.
func (a *Actor) Receive(in Inbound) {
	a.mu.Lock()
	switch {
	case a.over:
		a.mu.Unlock()
	case len(a.inbox) >= InboxSize && in.Event != leave:
		a.mu.Unlock()
		a.reply(in.Ref, StatusError, Reason("overloaded"))
	default:
		a.inbox = append(a.inbox, in)
		a.start()
		a.mu.Unlock()
	}
}

// Deliver queues what the client has not got yet of a segment.
func (a *Actor) Deliver(seg *Segment, now time.Time) { a.mailbox.deliver(seg, now) }

// End ends the channel from outside, for ErrReplaced or ErrDisconnected. For the
// client it has ended when End returns. A handler that is still
// running is not waited for; Terminate is called after it.
func (a *Actor) End(reason error) {
	if reason == ErrReplaced {
		a.end(reason, a.encodePush(a.to.JoinRef, "phx_close", emptyObject))
		return
	}
	a.end(reason)
}

// start makes the goroutine run, if it does not. Called with mu held.
func (a *Actor) start() {
	if !a.running {
		a.running = true
		a.group.Add(1)
		go a.loop()
	}
}

func (a *Actor) run() {
	defer a.group.Done()
	for a.step() {
	}
}

// step does the next thing there is to do. It returns false if there is none.
func (a *Actor) step() bool {
	a.mu.Lock()
	switch {
	case a.over && !a.terminated:
		a.mu.Unlock()
		a.terminate()
	case a.over:
		a.running = false
		a.mu.Unlock()
		return false
	case a.joining != nil:
		a.mu.Unlock()
		a.join(a.joining)
		a.joining = nil
	case len(a.inbox) > 0:
		in := a.inbox[0]
		a.inbox[0] = Inbound{}
		a.inbox = a.inbox[1:]
		a.mu.Unlock()
		a.handle(in)
	default:
		a.inbox, a.running = nil, false
		a.mu.Unlock()
		return false
	}
	return true
}

func (a *Actor) handle(in Inbound) {
	if in.Event == leave {
		a.end(ErrLeft,
			a.encodeReply(in.Ref, StatusOK, emptyObject),
			a.encodePush(a.to.JoinRef, "phx_close", emptyObject))
		return
	}
	handler, ok := a.channel.(InHandler)
	if !ok {
		a.reply(in.Ref, StatusError, Reason("unmatched event"))
		return
	}
	var result Result
	if err := a.guard(func() { result = handler.HandleIn(&a.ctx, in.Event, in.Payload) }); err != nil {
		a.fail(err, in.Event)
		return
	}
	if result.status != "" {
		a.reply(in.Ref, result.status, result.response)
	}
	switch {
	case result.stop && result.reason == nil:
		a.end(nil, a.encodePush(a.to.JoinRef, "phx_close", emptyObject))
	case result.stop:
		a.fail(result.reason, in.Event)
	}
}

// fail ends the channel because of an error: the client joins again.
func (a *Actor) fail(err error, event string) {
	a.log(err, event)
	p, _ := payloadOf(Reason("channel_crash"))
	a.end(err, a.encodePush(a.to.JoinRef, "phx_error", p))
}

// end ends the channel: outwardly now, with last as the last frames that the
// client gets, and inwardly once what is being handled is done.
func (a *Actor) end(reason error, last ...[]byte) {
	a.mu.Lock()
	if a.over {
		a.mu.Unlock()
		return
	}
	a.over, a.reason = true, reason
	var frames [][]byte
	for _, in := range a.inbox {
		if in.Event == leave {
			frames = append(frames, a.encodeReply(in.Ref, StatusOK, emptyObject))
		}
	}
	a.inbox = nil
	if a.cancel != nil {
		a.cancel()
	}
	subscription := a.subscription
	a.start()
	a.mu.Unlock()
	if subscription != nil {
		subscription.Cancel()
	}
	// Errors mean that the connection is gone, and with it whoever wanted to know.
	_ = a.mailbox.end(reason == ErrReplaced, append(frames, last...)...)
	a.ended(a)
}

func (a *Actor) terminate() {
	a.terminated = true
	handler, ok := a.channel.(Terminator)
	if !ok || !a.joined {
		return
	}
	if err := a.guard(func() { handler.Terminate(&a.ctx, a.reason) }); err != nil {
		a.log(err, "terminate")
	}
}

// guard calls a handler, and returns its panic as an error.
func (a *Actor) guard(call func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			a.host.hub.meters.failures.Add(1)
		}
	}()
	call()
	return nil
}

func (a *Actor) context() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done == nil {
		a.done, a.cancel = context.WithCancel(a.base)
		if a.over {
			a.cancel()
		}
	}
	return a.done
}
