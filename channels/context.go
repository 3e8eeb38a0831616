package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Socket describes the connection that a channel belongs to, in the words of
// the connect hook. All channels of the connection share it: it is not changed,
// but may be replaced by another when the client renews its access.
type Socket struct {
	ID         string         // names the user, for disconnecting all sockets of that user; may be empty
	Assigns    map[string]any // whatever the connect hook wants the channels to know
	Expires    time.Time      // when the connection is closed, unless its access is renewed; zero: never
	RemoteAddr string
	Transport  string // such as "websocket"; the service sets it

	// Name is what the admin API calls the connection: the ID, or without one a name that
	// no other connection has. The service sets it.
	Name string
}

// Context is a channel's hold on the world. Its methods may be called from any
// goroutine, also after the channel has ended.
type Context struct {
	actor *Actor
}

// Topic is the topic that the client joined.
func (c *Context) Topic() string { return c.actor.Topic() }

// Socket is the connection that the channel belongs to, as it is now.
func (c *Context) Socket() *Socket { return c.actor.socket() }

// Context ends when the channel does. It is meant for what the channel waits
// for, such as queries.
func (c *Context) Context() context.Context { return c.actor.context() }

// Push sends an event to this client, a JSON object or [Binary]. It returns a
// [*store.InvalidError] if the event's name or payload is none that a client can be
// sent, ErrClosed unless the channel
// is joined, ErrShed if the mailbox is full and its rule sheds, and ErrOverflow
// if the client is too slow and is being disconnected.
func (c *Context) Push(event string, payload any) error {
	p, err := payloadOf(payload)
	if err != nil {
		return fmt.Errorf("push %q: %w", event, err)
	}
	return c.actor.push(event, p)
}

// Broadcast sends an event to all that have joined the topic, on all nodes, this client
// included. It is not logged: who is not there now does not get it, and what crosses
// nodes does so at most once. A name or payload that clients, or other nodes, cannot be
// sent is a [*store.InvalidError]. While this node has no bus to the others that is an
// error too. With an error nobody gets it.
func (c *Context) Broadcast(event string, payload any) error {
	return c.broadcast(event, payload, nil)
}

// BroadcastFrom is Broadcast to all but this client.
func (c *Context) BroadcastFrom(event string, payload any) error {
	return c.broadcast(event, payload, c.actor)
}

func (c *Context) broadcast(event string, payload any, except Subscriber) error {
	p, err := payloadOf(payload)
	if err != nil {
		return fmt.Errorf("broadcast %q: %w", event, err)
	}
	return c.actor.host.pubsub.Broadcast(
		&Message{Topic: c.Topic(), Event: event, Payload: p.Data, Binary: p.Binary}, except)
}

// ErrNoLog is returned by Publish where there is no log to publish to.
var ErrNoLog = errors.New("channels: no log to publish to")

// Publish appends an event with this channel's topic to the log, with a key or
// nil, and returns once it is durable. It then reaches all that have joined,
// this client included, in its turn.
func (c *Context) Publish(event string, payload any, key []byte) error {
	p, err := payloadOf(payload)
	switch {
	case err == nil && p.Binary:
		err = &store.InvalidError{Index: -1, Field: "payload", Reason: "is binary: the log holds JSON objects only"}
	case err == nil && c.actor.host.publisher == nil:
		err = ErrNoLog
	}
	if err == nil {
		err = c.actor.host.publisher.Publish(c.actor.base,
			&Message{Topic: c.Topic(), Event: event, Key: key, Payload: p.Data})
	}
	if err != nil {
		return fmt.Errorf("publish %q: %w", event, err)
	}
	return nil
}

// SetOptions says how what goes to this client is kept, thinned out and counted,
// where that is to be different from what the endpoint says. It counts if it
// is called by Join.
func (c *Context) SetOptions(d Options) {
	if j := c.actor.pending; j != nil {
		j.options = d.Or(j.options)
	}
}
