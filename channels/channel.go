package channels

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Channel is what an application writes: what happens on a topic, for one
// client. Every join gets a fresh value from a [Factory], so that its fields
// are the state of that client on that topic. Its methods are called one at a
// time.
//
// A Channel may also be an [InHandler], an [OutHandler], an [InfoHandler], a
// [Reviewer] and a [Terminator].
type Channel interface {
	// Join accepts the client, with what it is to be told (nil for {}), or
	// rejects it with a [Rejection]. Any other error is taken for a failure: it
	// is logged, and the client learns only that its join crashed. Nothing can
	// be pushed to the client before Join has returned.
	Join(ctx *Context, params Payload) (reply any, err error)
}

// Factory makes the Channel of one join.
type Factory func() Channel

// InHandler is a Channel that its client may push events to. Without it, they
// are answered with an error.
type InHandler interface {
	HandleIn(ctx *Context, event string, payload Payload) Result
}

// OutHandler is a Channel that takes a look at some of its topic's events and
// broadcasts before they go to its client. These cost a call for every client,
// where others are encoded once for all.
type OutHandler interface {
	// Intercepts names the events that HandleOut is to see. It is called once,
	// before Join.
	Intercepts() []string

	// HandleOut returns what the client gets instead of the payload, or false
	// if it is to get nothing. The event's offset stays with it.
	HandleOut(ctx *Context, event string, payload Payload) (instead any, send bool)
}

// InfoHandler is a Channel that gets messages from the application itself: by
// [Context.Send], [Context.SendAfter] and [Context.Every]. Without it, they are
// dropped. There is nobody to answer: of the Result only its stop counts.
type InfoHandler interface {
	HandleInfo(ctx *Context, message any) Result
}

// Terminator is a Channel that wants to know when it ends. Terminate is the
// last call, made once for every Join that accepted. The reason is nil if the
// channel stopped itself normally, [ErrLeft], [ErrReplaced], [ErrDisconnected],
// [ErrWithdrawn] or [ErrGone], the error that it stopped with, or a [*PanicError]. The
// client can no longer be reached.
type Terminator interface {
	Terminate(ctx *Context, reason error)
}

// Reviewer is a Channel that judges its client again once the client's access
// has changed: it was renewed, or the rules behind it were. Without it, who has
// joined stays. Join is not followed by Review: it judges by itself.
type Reviewer interface {
	// Review returns an error if the client may no longer be here. The channel
	// then ends with phx_error, upon which the client joins again, and is told
	// the reason by Join. It may be called while another method runs, so that
	// no handler that takes its time keeps what was withdrawn flowing: it reads
	// nothing that the others change.
	Review(topic string, s *Socket) error
}

// Reasons for a channel's end that Terminate may be given.
var (
	ErrLeft         = errors.New("channels: client left")
	ErrReplaced     = errors.New("channels: client joined the topic again")
	ErrDisconnected = errors.New("channels: socket closed")
	ErrWithdrawn    = errors.New("channels: access withdrawn")
)

// Rejection is the error with which Join turns a client down.
type Rejection struct {
	Response any // what the client is told, as JSON
}

// Reject turns a client down, for a reason that it is told.
func Reject(reason string) error { return &Rejection{Reason(reason)} }

func (r *Rejection) Error() string { return fmt.Sprintf("channels: join rejected: %v", r.Response) }

// reason is what joins are counted by: what the client is told, where the service says it
// too, for an application's own words have no bound.
func (r *Rejection) reason() outbound.JoinReason {
	told, _ := r.Response.(reasonResponse)
	switch why := outbound.JoinReason(told.Reason); why {
	case outbound.JoinUnauthorized, outbound.JoinUnavailable, outbound.JoinForbidden:
		return why
	}
	return outbound.JoinHandler
}

type reasonResponse struct {
	Reason string `json:"reason"`
}

// Reason is the usual form of an error's response: {"reason": "…"}.
func Reason(reason string) any { return reasonResponse{reason} }

// Result is what becomes of a client's push. The zero Result is NoReply.
type Result struct {
	status   outbound.Status // empty: no reply
	response any
	stop     bool
	reason   error
}

// NoReply handles a push without answering it.
func NoReply() Result { return Result{} }

// OK answers a push, with nil for {}.
func OK(response any) Result { return Result{status: outbound.StatusOK, response: response} }

// Error answers a push with an error, such as a [Reason].
func Error(response any) Result { return Result{status: outbound.StatusError, response: response} }

// Stop ends the channel: normally if the reason is nil, so that the client does
// not join again, or as a failure that it recovers from by joining again. Of a
// [Rejection] the client is told the reason, and nothing is logged.
func Stop(reason error) Result { return Result{}.ThenStop(reason) }

// ThenStop ends the channel after the answer.
func (r Result) ThenStop(reason error) Result {
	r.stop, r.reason = true, reason
	return r
}

// Binary is a value that is sent to clients as bytes and not as JSON, where
// their protocol can carry bytes.
type Binary []byte

// emptyObject is what nil becomes on the wire.
var emptyObject = Payload{Data: []byte("{}")}

// payloadOf is how a value that an application sends looks on the wire. A panic
// of the value's own MarshalJSON is an error.
func payloadOf(v any) (_ Payload, err error) {
	switch v := v.(type) {
	case nil:
		return emptyObject, nil
	case Payload:
		if len(v.Data) == 0 && !v.Binary {
			return emptyObject, nil
		}
		return v, nil
	case Binary:
		return Payload{Data: v, Binary: true}, nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	data, err := json.Marshal(v)
	return Payload{Data: data}, err
}
