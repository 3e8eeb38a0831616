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

	// Written before use.
	maxPayload func() int64 // nil: no bound
	remote     Remote       // nil: there are no other nodes

	segmentSize, segmentBytes int // see Segments
}

// Remote carries broadcasts to the other nodes, where somebody may have joined their
// topics, too.
type Remote interface {
	// Send sends a message that clients may be sent, and does not wait for any node. With
	// an error nothing was sent, and nobody gets the message here either. It does not
	// keep m.
	Send(m *Message) error
}

// NewPubSub returns a PubSub for the subscribers of hub.
func NewPubSub(hub *Hub, encoder outbound.Encoder) *PubSub {
	return &PubSub{hub: hub, builders: sync.Pool{New: func() any { return outbound.NewBuilder(encoder) }}}
}

// Bound has Broadcast refuse payloads with more bytes than maxPayload returns at the
// moment; 0 stands for no bound. Call it before anything is broadcast.
func (p *PubSub) Bound(maxPayload func() int64) { p.maxPayload = maxPayload }

// SetRemote has what is broadcast sent to the other nodes, too: before it is delivered
// here, so that no answer to it overtakes it. Call it before anything is broadcast.
func (p *PubSub) SetRemote(r Remote) { p.remote = r }

// Segments has Deliver end a segment with so many messages, or once their payloads
// exceed so many bytes; else each message is one. The first should not exceed the size of
// a mailbox, which takes a segment whole. Call it before anything is delivered.
func (p *PubSub) Segments(messages, bytes int) { p.segmentSize, p.segmentBytes = messages, bytes }

// NewMessage is a message to broadcast or publish, with a payload as [Context.Push] takes
// it: what marshals to a JSON object, or [Binary].
func NewMessage(topic, event string, payload any) (*Message, error) {
	p, err := payloadOf(payload)
	if err != nil {
		return nil, err
	}
	return &Message{Topic: topic, Event: event, Payload: p.Data, Binary: p.Binary}, nil
}

// Broadcast sends m to all subscribers of its topic, on all nodes, except one of this
// node, which may be nil. It returns when m is in the mailboxes of this node's, and on its
// way to the other nodes. With an error nobody gets it.
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
	segment, err := p.encode(m)
	if err == nil && p.remote != nil {
		err = p.remote.Send(m)
	}
	if err == nil && segment != nil {
		p.hub.route(segment, except)
	}
	return err
}

// encode makes m a segment, nil if nobody has joined its topic.
func (p *PubSub) encode(m *Message) (*outbound.Segment, error) {
	to := p.hub.Watched(m.Topic)
	if to.Formats == 0 {
		return nil, nil
	}
	b := p.builders.Get().(*outbound.Builder)
	b.Start(to)
	err := b.Add(m)
	segment := b.Segment()
	p.builders.Put(b) // not deferred: after a panic nobody uses it again
	return segment, err
}

// Deliver hands what another node has broadcast to one topic to the subscribers that
// the topic has here, and returns how many messages these were given: none if nobody has
// joined it. What cannot be encoded is left out, and its error returned. It keeps nothing
// of the messages.
func (p *PubSub) Deliver(topic string, messages []Message) (delivered int, err error) {
	to := p.hub.Watched(topic)
	if to.Formats == 0 {
		return 0, nil
	}
	b := p.builders.Get().(*outbound.Builder)
	for len(messages) > 0 {
		n, size := 0, 0
		b.Start(to)
		for n < len(messages) && (n == 0 || n < p.segmentSize && size < p.segmentBytes && messages[n].Binary == messages[0].Binary) {
			if failed := b.Add(&messages[n]); failed != nil {
				err = errors.Join(err, failed)
			} else {
				delivered++
			}
			size += len(messages[n].Payload)
			n++
		}
		messages = messages[n:]
		if segment := b.Segment(); segment != nil {
			p.hub.Route(segment)
		}
	}
	p.builders.Put(b) // not deferred: after a panic nobody uses it again
	return delivered, err
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
