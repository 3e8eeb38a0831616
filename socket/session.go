package socket

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// session carries many channels over one connection: it finds the channel that
// a message is for, begins and ends channels, and answers what belongs to none.
// It knows nothing of the transport. take is called by one goroutine at a time.
type session struct {
	// Immutable after init.
	config  *Config
	format  channels.Format                 // of a plain join
	socket  atomic.Pointer[channels.Socket] // replaced when the client renews its access
	current func() *channels.Socket         // loads socket
	outlet  *channels.Connection
	context context.Context // ends when the endpoint stops hard
	group   sync.WaitGroup  // goroutines of the session's actors

	pace *pace // owned by whoever calls take; nil for no limit

	mu     sync.Mutex
	joined roster // guarded by mu

	inbound channels.InboundBytes

	// Immutable after begin.
	leave  func() // gives back what the connection holds besides; nil if there is nothing
	opened int64  // when, in Unix nanoseconds
	serial uint64 // among the endpoint's connections
	lease  *lease // nil if it does not end by itself
}

// init makes a new session. It is part of its connection: there may be very many.
func (s *session) init(ctx context.Context, c *Config, f channels.Format, socket *channels.Socket, o *channels.Connection) {
	s.config, s.format, s.outlet, s.context = c, f, o, ctx
	s.socket.Store(socket)
	s.current = s.socket.Load
	s.inbound.Limit(c.InboundBytes)
	if c.InboundRate > 0 {
		s.pace = &pace{perSecond: c.InboundRate}
	}
}

// after is what has to be done, and how long to wait then, before the next
// message is handed to the session. The zero value is nothing.
type after struct {
	do   func() // may block
	wait time.Duration
}

// perform waits for all of it.
func (a after) perform() {
	if a.do != nil {
		a.do()
	}
	if a.wait > 0 {
		time.Sleep(a.wait)
	}
}

// take handles a message, which it does not keep.
func (s *session) take(data []byte, binary bool) (after, error) {
	decode := decodeText
	if binary {
		decode = decodeBinary
	}
	m, err := decode(s.format, data)
	var do func()
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		s.refuse(refused.to, refused.reason)
	case err != nil:
		return after{}, err
	default:
		do = s.receive(m)
	}
	if s.pace == nil {
		return after{do: do}, nil
	}
	now := time.Now()
	s.pace.note(now)
	return after{do, s.pace.wait(now)}, nil
}

// receive handles a message. What of it may block is left to the caller.
func (s *session) receive(m message) (do func()) {
	if m.topic == "phoenix" && m.event == "heartbeat" {
		s.reply(channels.Address{Topic: m.topic, Ref: m.ref}, channels.StatusOK, emptyObject)
		return nil
	}
	actor := s.actor(m.topic)
	m.payload.Data = bytes.Clone(m.payload.Data)
	switch {
	case m.event == "phx_join":
		s.join(m, actor)
	case actor == nil && m.event == "phx_leave":
		s.reply(m.address(), channels.StatusOK, emptyObject)
	case actor == nil:
		s.refuse(channels.Address{Topic: m.topic, Ref: m.ref}, "unmatched topic")
	case m.joinRef != "" && bareRef(m.joinRef) != bareRef(actor.JoinRef()):
		// Stale: from a join that the client has replaced since.
	case m.event == accessToken && s.config.Renew != nil:
		return func() { s.renew(m, actor) }
	case m.event == accessToken: // of a client that has one, though nothing here asks for it
		s.reply(m.address(), channels.StatusOK, emptyObject)
	case m.event != "phx_leave" && store.CheckEvent(m.event) != nil:
		s.config.Metrics.Counter(metrics.MessagesRefused, metrics.Reason("invalid_event")).Add(1)
		s.refuse(m.address(), "invalid event")
	default:
		actor.Receive(channels.Inbound{Event: m.event, Ref: m.ref, Payload: m.payload})
	}
	return nil
}

// join begins a channel, in place of the old one on the topic, if there is one.
func (s *session) join(m message, old *channels.Actor) {
	if old != nil {
		old.End(channels.ErrReplaced)
	}
	factory := s.config.Routes.Find(m.topic)
	if factory == nil || !store.ValidTopic(m.topic) {
		s.refuse(channels.Address{Topic: m.topic, Ref: m.ref}, "unmatched topic")
		return
	}
	m.payload = withoutToken(m.payload)
	resume, err := channels.ParseResume(m.payload)
	if err != nil {
		s.refuse(m.address(), err.Error())
		return
	}
	format := s.format
	if resume != nil {
		format |= enveloped
	}
	// Under the lock, so that the actor is on the roster before it can end.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined.len() >= s.config.MaxChannels {
		s.refuse(m.address(), "too many channels joined")
		return
	}
	topic, to := m.topic, m.address()
	if s.format&version2 == 0 && to.JoinRef == "" {
		// So that its phx_close closes this join in the client, and no later one.
		to.JoinRef = m.ref
	}
	s.joined.add(topic, s.config.Host.Join(channels.JoinRequest{
		To:         to,
		Params:     m.payload,
		Format:     format,
		Resume:     resume,
		Factory:    factory,
		Options:    s.config.Options,
		Socket:     s.current,
		Connection: s.outlet,
		Inbound:    &s.inbound,
		Queue:      s.config.InboundQueue,
		Context:    s.context,
		Group:      &s.group,
		Ended:      func(a *channels.Actor) { s.forget(topic, a) },
	}))
}

func (s *session) actor(topic string) *channels.Actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined.find(topic)
}

// forget takes an actor that has ended off the roster.
func (s *session) forget(topic string, a *channels.Actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined.find(topic) == a {
		s.joined.remove(topic)
	}
}

// review has all channels judge their client again.
func (s *session) review() {
	s.mu.Lock()
	actors := s.joined.all()
	s.mu.Unlock()
	for _, a := range actors {
		a.Review()
	}
}

// channels is the number of topics joined.
func (s *session) channels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined.len()
}

// close ends all channels and waits until their handlers have returned. Nothing
// is received meanwhile or afterwards.
func (s *session) close() {
	s.lease.stop()
	s.mu.Lock()
	actors := s.joined.all()
	s.mu.Unlock()
	for _, a := range actors {
		a.End(channels.ErrDisconnected)
	}
	s.group.Wait()
}

func (s *session) refuse(to channels.Address, reason string) {
	s.reply(to, channels.StatusError, channels.Payload{Data: appendReason(nil, reason)})
}

// reply answers what belongs to no channel.
func (s *session) reply(to channels.Address, status channels.Status, response channels.Payload) {
	frame, err := Encoder{}.AppendReply(nil, s.format, to, status, response)
	if err == nil {
		err = s.outlet.Reply(frame)
	}
	if err != nil && !errors.Is(err, channels.ErrClosed) && !errors.Is(err, channels.ErrOverflow) {
		s.config.Logger.Error("reply failed", "topic", to.Topic, "error", err)
	}
}

func (m *message) address() channels.Address {
	return channels.Address{Topic: m.topic, JoinRef: m.joinRef, Ref: m.ref}
}

var emptyObject = channels.Payload{Data: []byte("{}")}

// appendReason appends {"reason": reason}.
func appendReason(dst []byte, reason string) []byte {
	return append(appendQuoted(append(dst, `{"reason":`...), reason), '}')
}
