package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Event is a message of a topic: an event of the log, a broadcast, or one of the
// protocol's own such as presence_diff and [PositionEvent].
type Event struct {
	Topic, Name string
	Payload     json.RawMessage // as it came; unwrapped
	Offset      int64           // in the log; 0 if it is not logged
	Epoch       string          // of the log
}

// Position is that of an event of the log: who gives it to [From] goes on after it.
// That of another is the zero position.
func (e Event) Position() Position {
	if e.Offset == 0 {
		return Position{}
	}
	return Position{e.Epoch, e.Offset}
}

// Position is a place in a log.
type Position struct {
	Epoch string `json:"epoch"` // of the log that offsets are of
	After int64  `json:"after"` // the last offset that is not wanted
}

// JoinOption is of a join.
type JoinOption func(*Channel)

// From has a topic begin after an offset of the log: first what was missed, then what comes.
// Without it, it begins now. An empty epoch is whichever the log has; then a log that was
// replaced is not noticed.
func From(epoch string, after int64) JoinOption {
	return func(c *Channel) { c.epoch, c.position = epoch, &after }
}

// Last has a topic begin with so many of its last events, where [From] does not say where, or
// cannot be resumed: then a [*ResetError] comes before them.
func Last(events int64) JoinOption { return func(c *Channel) { c.last = &events } }

// PositionEvent comes on topics on which nothing happens, now and then. It has an offset: all of
// the topic up to there has come. The client keeps it as its position, as programs do that
// keep one.
const PositionEvent = "sluice_position"

// Params are those of the join, beside where to resume. The function is asked at every join, by
// one goroutine at a time; what it returns has to be a JSON object when encoded, and it
// must not call the client.
func Params(f func() any) JoinOption { return func(c *Channel) { c.params = f } }

// state is where a channel is.
//
//	waiting → joining   a connection is there, and the pause is over
//	joining → joined    the server accepts
//	joining → waiting   it is unavailable, or the connection is lost after an earlier join
//	joined  → waiting   the connection is lost, or the channel failed
//	joined  → joining   the program has caught up with what was dropped
//	any     → over      left, refused, closed
type state int

const (
	waiting state = iota
	joining
	joined
	over
)

// Channel is a topic that has been joined, across connections.
type Channel struct {
	client *Client
	topic  string
	params func() any // nil for none

	queue queue

	// The loop sends once: how the first join ended. It has room.
	first chan error

	// Owned by the loop.
	state    state
	met      bool   // whether it was ever joined
	joinRef  string // of the last join
	position *int64 // the last offset that has been queued; nil before it is known
	epoch    string // that position belongs to
	last     *int64 // how many events to begin with without a position; nil for none; immutable
	dropping bool   // whether what comes is dropped until the program has caught up
	due      time.Time
	retry    *backoff.ExponentialBackOff
	pushes   map[string]*push // by ref: not answered yet
	unsent   []*push          // until it is joined
}

// Join joins a topic, and returns when that was accepted. While the client has no connection,
// or the server says that it is unavailable, it waits; it returns a [*JoinError] if it is
// refused, and how the connection ended if that is lost meanwhile.
func (c *Client) Join(ctx context.Context, topic string, options ...JoinOption) (*Channel, error) {
	ch := &Channel{client: c, topic: topic, first: make(chan error, 1), pushes: map[string]*push{}, retry: newBackoff()}
	ch.queue.init(c.room)
	for _, o := range options {
		o(ch)
	}
	if err := c.do(ctx, func(l *loop) { l.add(ch) }); err != nil {
		return nil, err
	}
	select {
	case err := <-ch.first:
		if err != nil {
			return nil, err
		}
		return ch, nil
	case <-ctx.Done():
		ch.leave()
		return nil, context.Cause(ctx)
	}
}

// Topic is what was joined.
func (ch *Channel) Topic() string { return ch.topic }

// Events are what comes, until the loop is left. A pair with a [*ResetError] has no event, and
// more follow; with any other error it is the last: that of ctx, [ErrClosed], or why the
// channel ended. After [Channel.Leave] the loop just ends. They are for one goroutine at a
// time; a later loop goes on where the last was left.
func (ch *Channel) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			next, err := ch.queue.next(ctx)
			switch {
			case err == ErrLeft:
				return
			case err != nil:
				yield(Event{}, err)
				return
			}
			if next.reset != nil {
				if !yield(Event{}, next.reset) {
					return
				}
			} else if !yield(next.event, nil) {
				return
			}
		}
	}
}

// Pending is how many events wait for the loop over [Channel.Events]. Who writes them on does
// so together while there are more.
func (ch *Channel) Pending() int { return ch.queue.len() }

// Leave leaves the topic: no more comes.
func (ch *Channel) Leave() { ch.leave() }

// leave does not wait for ctx of whoever leaves: it is asked when that is over.
func (ch *Channel) leave() {
	_ = ch.client.do(context.Background(), func(l *loop) { l.leave(ch) }) // a client that has ended has left
}

// Watch joins a topic and follows it until the loop is left, which leaves the topic. The errors
// are those of [Client.Join] and of [Channel.Events].
func (c *Client) Watch(ctx context.Context, topic string, options ...JoinOption) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		ch, err := c.Join(ctx, topic, options...)
		if err != nil {
			yield(Event{}, err)
			return
		}
		defer ch.leave()
		ch.Events(ctx)(yield)
	}
}

// push is one that a caller waits for.
type push struct {
	event   string
	payload json.RawMessage
	// The loop sends once. It has room.
	answer chan pushAnswer
}

type pushAnswer struct {
	reply reply
	err   error
}

// Push sends an event and waits for the server's answer: its response, or a [*PushError]. Until
// the topic is joined it waits to be sent. A server that does not answer an event has it
// wait until ctx ends: then, and with [ErrUnanswered], it is not known whether it arrived. The
// payload has to be a JSON object when encoded; nil is an empty one.
func (ch *Channel) Push(ctx context.Context, event string, payload any) (json.RawMessage, error) {
	if payload == nil {
		payload = struct{}{}
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("push %q: %w", event, err)
	}
	p := &push{event, text, make(chan pushAnswer, 1)}
	if err := ch.client.do(ctx, func(l *loop) { l.push(ch, p) }); err != nil {
		return nil, err
	}
	select {
	case a := <-p.answer:
		switch {
		case a.err != nil:
			return nil, a.err
		case a.reply.Status != "ok":
			return nil, &PushError{event, a.reply.reason(), a.reply.Response}
		}
		return a.reply.Response, nil
	case <-ctx.Done():
		_ = ch.client.do(context.Background(), func(l *loop) { l.forget(ch, p) }) // a client that has ended has forgotten it
		return nil, context.Cause(ctx)
	}
}
