package socket

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/sluicehq/sluice/channels"
)

// session carries many channels over one connection: it finds the channel that
// a message is for, begins and ends channels, and answers what belongs to none.
// It knows nothing of the transport. text and binary are called by one
// goroutine at a time.
type session struct {
	// Immutable after newSession.
	config  *Config
	format  channels.Format                 // of a plain join
	socket  atomic.Pointer[channels.Socket] // replaced when the client renews its access
	current func() *channels.Socket         // loads socket
	outlet  *channels.Outlet
	context context.Context // ends when the endpoint stops hard
	group   sync.WaitGroup  // goroutines of the session's actors

	pace pace // owned by whoever calls text or binary

	mu     sync.Mutex
	actors map[string]*channels.Actor // by topic; guarded by mu

	lease lease
}

// maxTopicBytes bounds the topics that are served, as the log does. None is
// empty.
const maxTopicBytes = 255

func newSession(ctx context.Context, c *Config, f channels.Format, s *channels.Socket, o *channels.Outlet) *session {
	made := &session{
		config:  c,
		format:  f,
		outlet:  o,
		context: ctx,
		pace:    pace{perSecond: c.InboundRate},
		actors:  make(map[string]*channels.Actor),
	}
	made.socket.Store(s)
	made.current = made.socket.Load
	return made
}

// text handles a text message, which the session keeps. It waits if the client
// sends too much.
func (s *session) text(data []byte) error {
	s.pace.keep()
	m, err := decodeText(s.format, data)
	if err != nil {
		return err
	}
	s.receive(m)
	return nil
}

// binary handles a binary message, which the session keeps. It waits if the
// client sends too much.
func (s *session) binary(data []byte) error {
	s.pace.keep()
	m, err := decodeBinary(s.format, data)
	if err != nil {
		return err
	}
	s.receive(m)
	return nil
}

func (s *session) receive(m message) {
	actor := s.actor(m.topic)
	switch {
	case m.topic == "phoenix" && m.event == "heartbeat":
		s.reply(channels.Address{Topic: m.topic, Ref: m.ref}, channels.StatusOK, emptyObject)
	case m.event == "phx_join":
		s.join(m, actor)
	case actor == nil && m.event == "phx_leave":
		s.reply(m.address(), channels.StatusOK, emptyObject)
	case actor == nil:
		s.refuse(channels.Address{Topic: m.topic, Ref: m.ref}, "unmatched topic")
	case m.joinRef != "" && bareRef(m.joinRef) != bareRef(actor.JoinRef()):
		// Stale: from a join that the client has replaced since.
	case channels.Reserved(m.event) && m.event != "phx_leave":
		s.refuse(m.address(), "unmatched event")
	case m.event == "access_token" && s.config.Renew != nil:
		s.renew(m, actor)
	default:
		actor.Receive(channels.Inbound{Event: m.event, Ref: m.ref, Payload: m.payload})
	}
}

// join begins a channel, in place of the old one on the topic, if there is one.
func (s *session) join(m message, old *channels.Actor) {
	if old != nil {
		old.End(channels.ErrReplaced)
	}
	factory := s.config.Routes.Find(m.topic)
	if factory == nil || m.topic == "" || len(m.topic) > maxTopicBytes {
		s.refuse(channels.Address{Topic: m.topic, Ref: m.ref}, "unmatched topic")
		return
	}
	resume, err := channels.ParseResume(m.payload)
	if err != nil {
		s.refuse(m.address(), err.Error())
		return
	}
	format := s.format
	if resume != nil {
		format |= enveloped
	}
	// Under the lock, so that the actor is in the map before it can end.
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.actors) >= s.config.MaxChannels {
		s.refuse(m.address(), "too many channels joined")
		return
	}
	s.actors[m.topic] = s.config.Host.Join(channels.JoinRequest{
		To:       m.address(),
		Params:   m.payload,
		Format:   format,
		Resume:   resume,
		Factory:  factory,
		Delivery: s.config.Delivery,
		Socket:   s.current,
		Outlet:   s.outlet,
		Context:  s.context,
		Group:    &s.group,
		Ended:    func(a *channels.Actor) { s.forget(m.topic, a) },
	})
}

func (s *session) actor(topic string) *channels.Actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.actors[topic]
}

// forget takes an actor that has ended out of the map.
func (s *session) forget(topic string, a *channels.Actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.actors[topic] == a {
		delete(s.actors, topic)
	}
}

// channels is the number of topics joined.
func (s *session) channels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.actors)
}

// close ends all channels and waits until their handlers have returned. Nothing
// is received meanwhile or afterwards.
func (s *session) close() {
	s.lease.stop()
	s.mu.Lock()
	actors := make([]*channels.Actor, 0, len(s.actors))
	for _, a := range s.actors {
		actors = append(actors, a)
	}
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
