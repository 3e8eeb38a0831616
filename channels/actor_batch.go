package channels

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/store"
)

// Pushed is one of several events that a client has pushed.
type Pushed struct {
	Event   string
	Payload Payload
}

// BatchHandler is an [InHandler] that handles together what its client has pushed
// and what has waited, in order: what it publishes can then share a commit. It
// returns a Result for each. It has no [Context.ReplyTo].
type BatchHandler interface {
	InHandler
	HandleBatch(ctx *Context, events []Pushed) []Result
}

// maxPushes bounds what a BatchHandler is given at once.
const maxPushes = 128

// takeBatch takes what a BatchHandler handles together with the first task, which
// has left the inbox: the client's next messages, up to anything else. It returns
// their charge. Called with mu held.
func (a *Actor) takeBatch(first Inbound) (batch []Inbound, charge int) {
	batch = append(make([]Inbound, 0, min(len(a.inbox), maxPushes)+1), first)
	for len(a.inbox) > 0 && len(batch) < maxPushes {
		t := a.inbox[0]
		if t.kind != fromClient || t.inbound.Event == leave {
			break
		}
		batch = append(batch, t.inbound)
		charge += t.charge
		a.inbox[0] = task{}
		a.inbox = a.inbox[1:]
		a.waiting[fromClient]--
	}
	return batch, charge
}

// handleBatch hands a BatchHandler what it takes, and answers.
func (a *Actor) handleBatch(handler BatchHandler, batch []Inbound) {
	events := make([]Pushed, len(batch))
	for i, in := range batch {
		events[i] = Pushed{in.Event, in.Payload}
	}
	var results []Result
	err := a.guard(func() {
		results = handler.HandleBatch(&a.ctx, events)
		if len(results) != len(events) {
			panic("HandleBatch did not return a Result for each event")
		}
	})
	if err != nil {
		a.conclude(err, Result{}, batch[0].Event)
		return
	}
	for i, result := range results {
		if result.status != "" {
			a.reply(batch[i].Ref, result.status, result.response)
		}
		if result.stop {
			a.conclude(nil, result, batch[i].Event)
			return
		}
	}
}

// PublishAll is [Context.Publish] for several events, which are appended together,
// in order: all of them or none. Where one is invalid, the error is a
// [*store.InvalidError] and none is.
func (c *Context) PublishAll(events []Pushed) error {
	publisher := c.actor.host.publisher
	if publisher == nil {
		return ErrNoLog
	}
	messages := make([]*Message, len(events))
	for i, e := range events {
		if e.Payload.Binary {
			return &store.InvalidError{Index: i, Field: "payload", Reason: "is binary: the log holds JSON objects only"}
		}
		messages[i] = &Message{Topic: c.Topic(), Event: e.Event, Payload: e.Payload.Data}
	}
	if all, ok := publisher.(batchPublisher); ok {
		return all.PublishAll(c.actor.base, messages)
	}
	return errors.ErrUnsupported
}

// batchPublisher is a Publisher that can append several events together.
type batchPublisher interface {
	// PublishAll returns once the events are durable. It does not keep them.
	PublishAll(ctx context.Context, messages []*Message) error
}
