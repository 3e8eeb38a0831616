package channels

import (
	"errors"
	"sync"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/store"
)

// PubSub carries the broadcasts of channels, which are not logged, to whoever has
// joined their topic. They go through the same segments and mailboxes as the log's events.
type PubSub struct {
	hub      *Hub
	builders sync.Pool // of *Builder

	maxPayload func() int64 // nil: no bound; written before use
}

// NewPubSub returns a PubSub for the subscribers of hub.
func NewPubSub(hub *Hub, encoder outbound.Encoder) *PubSub {
	return &PubSub{hub: hub, builders: sync.Pool{New: func() any { return outbound.NewBuilder(encoder) }}}
}

// Bound has Broadcast refuse payloads with more bytes than maxPayload returns at the
// moment; 0 stands for no bound. Call it before anything is broadcast.
func (p *PubSub) Bound(maxPayload func() int64) { p.maxPayload = maxPayload }

// NewMessage is a message to broadcast or publish, with a payload as [Context.Push] takes
// it: what marshals to a JSON object, or [Binary].
func NewMessage(topic, event string, payload any) (*Message, error) {
	p, err := payloadOf(payload)
	if err != nil {
		return nil, err
	}
	return &Message{Topic: topic, Event: event, Payload: p.Data, Binary: p.Binary}, nil
}

// Broadcast sends m to all subscribers of its topic except one, which may be
// nil. It returns when m is in their mailboxes.
func (p *PubSub) Broadcast(m *Message, except Subscriber) error {
	if m.Offset != 0 {
		return errors.New("channels: an event of the log is routed, not broadcast")
	}
	if p.maxPayload != nil {
		if err := store.CheckSize(m.Payload, p.maxPayload()); err != nil {
			return err
		}
	}
	if err := check(m.Event, Payload{Data: m.Payload, Binary: m.Binary}); err != nil {
		return err
	}
	to := p.hub.Watched(m.Topic)
	if to.Formats == 0 {
		return nil
	}
	b := p.builders.Get().(*outbound.Builder)
	b.Start(to)
	err := b.Add(m)
	segment := b.Segment()
	p.builders.Put(b) // not deferred: after a panic nobody uses it again
	if err == nil {
		p.hub.route(segment, except)
	}
	return err
}

// check returns a [*store.InvalidError] if clients must not be sent this: the log's
// rule, but that a payload may be binary.
func check(event string, p Payload) error {
	err := store.CheckEvent(event)
	if err == nil && !p.Binary {
		err = store.CheckPayload(p.Data)
	}
	return err
}
