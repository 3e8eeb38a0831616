package channels

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// InboxSize is how many messages that a channel sent to itself may wait for it, and
// how many of its timers and functions run by Async there may be.
const InboxSize = 64

// DefaultInboundQueue is how many of a client's messages may wait for one channel,
// unless its JoinRequest says otherwise: what comes on top is answered "overloaded".
const DefaultInboundQueue = 1024

// ErrOverloaded is returned for a message to a channel that has too much to do.
var ErrOverloaded = errors.New("channels: overloaded")

// Actor runs one Channel for one client: it handles the client's messages in
// order, one at a time, in a goroutine that exists only while there is
// something to handle. All methods may be called concurrently.
type Actor struct {
	// What a delivery needs comes first, so that it costs few cache lines.

	// Fixed before the hub knows of it.
	subscription Subscription
	intercepts   map[string]bool // nil: none

	// Guarded by the connection.
	mailbox outbound.Mailbox

	// Immutable after Host.Join.
	host    *Host
	joinRef outbound.Ref
	socket  func() *Socket
	base    context.Context
	group   *sync.WaitGroup
	ended   func(*Actor)
	ctx     Context
	inbound *InboundBytes // of the connection
	queue   int32         // messages of the client's that may wait

	mu sync.Mutex

	// Guarded by mu.
	inbox      []task       // bounded by kind, and one leave
	waiting    [kinds]int32 // tasks in the inbox, by kind
	leaving    bool         // the client has left: what it sends is ignored
	running    bool         // the goroutine exists
	over       bool         // End was called
	subscribed bool
	settled    bool       // the join has been accepted and answered
	doubted    bool       // Review was called before that
	follows    bool       // its client is told who is on the topic
	reason     error      // why it is over
	rare       *rareState // nil until there is one

	// Owned by run.
	channel    Channel      // nil until the join is handled; written with mu held
	pending    *pendingJoin // nil once the join has been answered
	joined     bool         // Join has accepted
	terminated bool
	currentRef outbound.Ref // of the request that is being handled
}

// Inbound is a message from a client to its channel.
type Inbound struct {
	Event   string
	Ref     outbound.Ref
	Payload Payload
}

// Depth is how many messages wait for the client, and whether it is behind: then
// events are read from the log again for it.
func (a *Actor) Depth() (messages int, behind bool) { return a.mailbox.Depth() }

// Idle tells whether nothing of what has been routed waits for the client.
func (a *Actor) Idle() bool { return a.mailbox.Idle() }

// leave is the event with which a client leaves.
const leave = "phx_leave"

// JoinRef is the join's identity, as the client gave it.
func (a *Actor) JoinRef() outbound.Ref { return a.joinRef }

// Topic is what the client joined. All who have joined it share the string.
func (a *Actor) Topic() string { return a.subscription.topic }

// address is where the answer to a request goes.
func (a *Actor) address(ref outbound.Ref) outbound.Address {
	return outbound.Address{Topic: a.Topic(), JoinRef: a.joinRef, Ref: ref}
}

// Deliver queues what the client has not got yet of a segment: for the client,
// or for a channel that takes a look at it first. In that case all of the
// segment goes through the channel, so that the order stays.
func (a *Actor) Deliver(seg *outbound.Segment, now time.Time) {
	if a.intercepts == nil || seg.Presence() {
		a.mailbox.Deliver(seg, now)
		return
	}
	if a.mailbox.Reserve(seg) {
		// An error means that the channel has ended, and with it what is reserved.
		_ = a.post(task{kind: fromTopic})
	}
}

// offer queues what the client has not got yet of a segment, for a channel that
// is behind; read says that it was read from the history. It returns false if there is no room for it now.
func (a *Actor) offer(seg *outbound.Segment, read bool) bool {
	if a.intercepts == nil {
		return a.mailbox.Refill(seg, read)
	}
	seen, all := a.mailbox.ReserveMissed(seg, read)
	if seen {
		_ = a.post(task{kind: fromTopic}) // as in Deliver
	}
	return all
}

// task is one thing for an actor to do.
type task struct {
	kind    taskKind
	inbound Inbound // fromClient
	charge  int     // bytes of it
	message any     // toSelf
	timer   *Timer  // toSelf, if it was not Send
}

type taskKind uint8

const (
	fromClient taskKind = iota
	toSelf
	fromTopic // to be intercepted: the next that the mailbox has to see
	kinds
)

// Receive hands a message from the client to the channel. It does not block: if too
// many are waiting already, the client is told so.
func (a *Actor) Receive(in Inbound) {
	charge := messageCharge + len(in.Event) + len(in.Ref) + len(in.Payload.Data)
	if in.Event == leave {
		in.Payload, charge = Payload{}, 0
	}
	if a.post(task{kind: fromClient, inbound: in, charge: charge}) == ErrOverloaded {
		a.reply(in.Ref, outbound.StatusError, Reason("overloaded"))
	}
}

// post queues a task, unless too many of its kind are waiting. A client can
// always leave, and what comes from the topic is bounded by its mailbox.
func (a *Actor) post(t task) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	leaves := t.kind == fromClient && t.inbound.Event == leave
	switch {
	case a.over, a.leaving && t.kind == fromClient:
		return ErrClosed
	case leaves, t.kind == fromTopic:
	case t.kind == fromClient && a.waiting[t.kind] >= a.queue,
		t.kind == toSelf && a.waiting[t.kind] >= InboxSize:
		return ErrOverloaded
	}
	a.inbound.take(t.charge)
	a.leaving = a.leaving || leaves
	a.inbox = append(a.inbox, t)
	a.waiting[t.kind]++
	a.start()
	return nil
}

// End ends the channel from outside, for ErrReplaced or ErrDisconnected. For
// the client it has ended when End returns. A handler that is still running is
// not waited for; Terminate is called after it.
func (a *Actor) End(reason error) {
	if reason == ErrReplaced {
		a.end(reason, a.encodePush(a.joinRef, "phx_close", emptyObject))
		return
	}
	a.end(reason)
}

// start makes the goroutine run, if it does not. Called with mu held.
func (a *Actor) start() {
	if !a.running {
		a.running = true
		a.group.Add(1)
		go a.run()
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
		a.forgetJoin()
		a.terminate()
	case a.over:
		a.running = false
		a.mu.Unlock()
		return false
	case a.pending != nil:
		a.mu.Unlock()
		a.join(a.pending)
		a.forgetJoin()
	case len(a.inbox) > 0:
		t := a.inbox[0]
		a.inbox[0] = task{}
		a.inbox = a.inbox[1:]
		a.waiting[t.kind]--
		if t.timer != nil {
			t.timer.taken()
		}
		if handler, ok := a.channel.(BatchHandler); ok && t.kind == fromClient && t.inbound.Event != leave {
			batch, more := a.takeBatch(t.inbound)
			a.mu.Unlock()
			a.handleBatch(handler, batch)
			a.inbound.give(t.charge + more)
			return true
		}
		a.mu.Unlock()
		a.do(t)
		a.inbound.give(t.charge)
	default:
		a.inbox, a.running = nil, false
		a.mu.Unlock()
		return false
	}
	return true
}

// forgetJoin forgets the join, which has been answered or is over.
func (a *Actor) forgetJoin() {
	if a.pending != nil {
		a.inbound.give(a.pending.charge)
		a.pending = nil
	}
}

func (a *Actor) do(t task) {
	switch t.kind {
	case fromClient:
		a.handle(t.inbound)
	case toSelf:
		a.inform(t.message)
	case fromTopic:
		a.intercept()
	}
}

func (a *Actor) handle(in Inbound) {
	if in.Event == leave {
		a.end(ErrLeft,
			a.encodeReply(in.Ref, outbound.StatusOK, emptyObject),
			a.encodePush(a.joinRef, "phx_close", emptyObject))
		return
	}
	handler, ok := a.channel.(InHandler)
	if !ok {
		a.reply(in.Ref, outbound.StatusError, Reason("unmatched event"))
		return
	}
	var result Result
	a.currentRef = in.Ref
	err := a.guard(func() { result = handler.HandleIn(&a.ctx, in.Event, in.Payload) })
	a.currentRef = ""
	if err == nil && result.status != "" {
		a.reply(in.Ref, result.status, result.response)
	}
	a.conclude(err, result, in.Event)
}

// conclude ends the channel if a handler failed, or wants it to stop.
func (a *Actor) conclude(err error, result Result, event string) {
	switch {
	case err != nil:
		a.fail(err, event)
	case result.stop && result.reason != nil:
		a.fail(result.reason, event)
	case result.stop:
		a.end(nil, a.encodePush(a.joinRef, "phx_close", emptyObject))
	}
}

// fail ends the channel because of an error: the client joins again. A [Rejection] is
// none of the channel's own making, and tells the client why.
func (a *Actor) fail(err error, event string) {
	response := Reason("channel_crash")
	var rejection *Rejection
	if errors.As(err, &rejection) {
		response = rejection.Response
	} else {
		a.log(err, event)
	}
	p, _ := payloadOf(response)
	a.end(err, a.encodePush(a.joinRef, "phx_error", p))
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
	for _, t := range a.inbox {
		if t.inbound.Event == leave {
			frames = append(frames, a.encodeReply(t.inbound.Ref, outbound.StatusOK, emptyObject))
		}
		a.inbound.give(t.charge)
	}
	a.inbox = nil
	if x := a.rare; x != nil {
		x.end()
	}
	subscribed := a.subscribed
	a.start()
	a.mu.Unlock()
	if subscribed {
		a.subscription.Cancel()
	}
	// Errors mean that the connection is gone, and with it whoever wanted to
	// know.
	_ = a.mailbox.End(reason == ErrReplaced, append(frames, last...)...)
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
func (a *Actor) guard(call func()) (err error) { return a.host.hub.guard(call) }

// guard calls what may panic, and returns that as an error.
func (h *Hub) guard(call func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			h.metrics.failures.Add(1)
		}
	}()
	call()
	return nil
}
