package channels

import (
	"errors"

	"github.com/sluicehq/sluice/channels/outbound"
)

// push sends an event to the client.
func (a *Actor) push(event string, p Payload) error {
	if err := check(event, p); err != nil {
		return err
	}
	frame, err := a.host.encoder.AppendPush(nil, a.mailbox.Format(), a.address(""), event, p)
	if err != nil {
		return err
	}
	return a.mailbox.Push(frame)
}

// reply answers a request, with the ref that it came with: null, if it was that.
func (a *Actor) reply(ref outbound.Ref, status outbound.Status, response any) {
	p, err := payloadOf(response)
	if err != nil {
		a.log(err, "phx_reply")
		status, p = outbound.StatusError, emptyObject
	}
	// Errors mean that the channel or its connection has ended.
	_ = a.mailbox.Reply(a.encodeReply(ref, status, p))
}

func (a *Actor) encodeReply(ref outbound.Ref, status outbound.Status, p Payload) []byte {
	to := a.address(ref)
	frame, err := a.host.encoder.AppendReply(nil, a.mailbox.Format(), to, status, p)
	if err != nil {
		a.log(err, "phx_reply")
		frame, _ = a.host.encoder.AppendReply(nil, a.mailbox.Format(), to, outbound.StatusError, emptyObject)
	}
	return frame
}

// encodePush encodes a message about the channel itself, which carries a ref.
func (a *Actor) encodePush(ref outbound.Ref, event string, p Payload) []byte {
	to := a.address(ref)
	frame, err := a.host.encoder.AppendPush(nil, a.mailbox.Format(), to, event, p)
	if err != nil {
		a.log(err, event)
	}
	return frame
}

// log reports what went wrong in a handler, with the stack if it panicked.
func (a *Actor) log(err error, event string) {
	var p *PanicError
	if errors.As(err, &p) {
		a.host.failures.Error(a.host.logger, "channel panicked",
			"topic", a.Topic(), "event", event, "error", p.Value, "stack", string(p.Stack))
		return
	}
	a.host.failures.Error(a.host.logger, "channel failed", "topic", a.Topic(), "event", event, "error", err)
}
