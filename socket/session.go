package socket

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
	"github.com/sluicehq/sluice/store"
)

// session carries many channels over one connection: it finds the channel that
// a message is for, begins and ends channels, and answers what belongs to none.
// It knows nothing of the transport. take is called by one goroutine at a time.
type session struct {
	// Immutable after init.
	config   *Config
	format   outbound.Format                 // of a plain join
	deflates bool                            // the client takes compressed messages
	socket   atomic.Pointer[channels.Socket] // replaced when the client renews its access
	current  func() *channels.Socket         // loads socket
	outbound *outbound.Connection
	context  context.Context // ends when the endpoint stops hard
	group    sync.WaitGroup  // goroutines of the session's actors

	limiter *rateLimiter // owned by whoever calls take; nil for no limit

	mu     sync.Mutex
	joined joinedChannels // guarded by mu

	inbound channels.InboundBytes

	// Immutable after begin.
	leave  func()  // gives back what the connection holds besides; nil if there is nothing
	opened int64   // when, in Unix nanoseconds
	serial uint64  // among the endpoint's connections
	expiry *expiry // nil if it does not end by itself
}

// init makes a new session. It is part of its connection: there may be very many.
func (s *session) init(ctx context.Context, c *Config, f outbound.Format, socket *channels.Socket, o *outbound.Connection) {
	s.config, s.format, s.outbound, s.context = c, f, o, ctx
	s.socket.Store(socket)
	s.current = s.socket.Load
	s.inbound.Limit(c.InboundBytes)
	if c.InboundRate > 0 {
		s.limiter = &rateLimiter{perSecond: c.InboundRate}
	}
}

// begin begins the session, with an expiry if there is an end to it, once its
// connection can be shut.
func (s *session) begin(c connection) {
	s.opened = time.Now().UnixNano()
	expires, age := s.current().Expires, s.config.MaxConnectionAge
	if expires.IsZero() && age == 0 && s.config.Renew == nil {
		return
	}
	s.expiry = &expiry{conn: c}
	s.expiry.until(expires)
	if age > 0 {
		s.expiry.limitAge(spread(age))
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
	s.config.received.Add(1)
	decode := phoenix.DecodeText
	if binary {
		decode = phoenix.DecodeBinary
	}
	m, err := decode(s.format, data)
	var do func()
	var answerable *phoenix.AnswerableError
	switch {
	case errors.As(err, &answerable):
		s.replyError(answerable.To, answerable.Reason)
	case err != nil:
		return after{}, err
	default:
		do = s.receive(m)
	}
	if s.limiter == nil {
		return after{do: do}, nil
	}
	now := time.Now()
	s.limiter.count(now)
	return after{do, s.limiter.wait(now)}, nil
}

// receive handles a message. What of it may block is left to the caller.
func (s *session) receive(m phoenix.ClientMessage) (do func()) {
	if m.Topic == "phoenix" && m.Event == "heartbeat" {
		s.reply(outbound.Address{Topic: m.Topic, Ref: m.Ref}, outbound.StatusOK, emptyObject)
		return nil
	}
	actor := s.actor(m.Topic)
	m.Payload.Data = bytes.Clone(m.Payload.Data)
	switch {
	case m.Event == "phx_join":
		s.join(m, actor)
	case actor == nil && m.Event == "phx_leave":
		s.reply(m.Address(), outbound.StatusOK, emptyObject)
	case actor == nil:
		s.replyError(outbound.Address{Topic: m.Topic, Ref: m.Ref}, "unmatched topic")
	case m.JoinRef != "" && !phoenix.SameRef(m.JoinRef, actor.JoinRef()):
		// Stale: from a join that the client has replaced since.
	case m.Event == accessToken && s.config.Renew != nil:
		return func() { s.renew(m, actor) }
	case m.Event == accessToken: // of a client that has one, though nothing here asks for it
		s.reply(m.Address(), outbound.StatusOK, emptyObject)
	case m.Event != "phx_leave" && store.CheckEvent(m.Event) != nil:
		s.config.Metrics.Counter(metrics.MessagesRefused, metrics.Reason("invalid_event")).Add(1)
		s.replyError(m.Address(), "invalid event")
	default:
		actor.Receive(channels.Inbound{Event: m.Event, Ref: m.Ref, Payload: m.Payload})
	}
	return nil
}

// join begins a channel, in place of the old one on the topic, if there is one.
func (s *session) join(m phoenix.ClientMessage, old *channels.Actor) {
	if old != nil {
		old.End(channels.ErrReplaced)
	}
	factory := s.config.Routes.Find(m.Topic)
	if factory == nil || !store.ValidTopic(m.Topic) {
		s.turnDown(outbound.JoinUnmatched, outbound.Address{Topic: m.Topic, Ref: m.Ref}, "unmatched topic")
		return
	}
	if err := s.config.Admit(s.current()); err != nil {
		why := refusedFor(err)
		s.turnDown(why, m.Address(), string(why))
		return
	}
	m.Payload = withoutToken(m.Payload)
	resume, err := channels.ParseResume(m.Payload)
	if err != nil {
		why := outbound.JoinInvalidAfter
		if errors.Is(err, channels.ErrInvalidLast) {
			why = outbound.JoinInvalidLast
		}
		s.turnDown(why, m.Address(), err.Error())
		return
	}
	format := s.format
	if resume != nil {
		format = phoenix.Resuming(format)
	}
	// Under the lock, so that the actor is among the joined before it can end.
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.joined.len() >= s.config.MaxChannels {
		s.turnDown(outbound.JoinTooMany, m.Address(), "too many channels joined")
		return
	}
	topic, to := m.Topic, m.Address()
	if s.format&phoenix.Version2 == 0 && to.JoinRef == "" {
		// So that its phx_close closes this join in the client, and no later one.
		to.JoinRef = m.Ref
	}
	s.joined.add(topic, s.config.Host.Join(channels.JoinRequest{
		To:         to,
		Params:     m.Payload,
		Format:     format,
		Small:      s.small(format),
		Resume:     resume,
		Factory:    factory,
		Options:    s.config.Options,
		Socket:     s.current,
		Connection: s.outbound,
		Inbound:    &s.inbound,
		Queue:      s.config.InboundQueue,
		Context:    s.context,
		Group:      &s.group,
		Ended:      func(a *channels.Actor) { s.forget(topic, a) },
	}))
}

// small is the format of compressed messages, or f where the client takes none.
func (s *session) small(f outbound.Format) outbound.Format {
	if s.deflates {
		return f | phoenix.Compressed
	}
	return f
}

func (s *session) actor(topic string) *channels.Actor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joined.find(topic)
}

// forget takes an actor that has ended from the joined.
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

// describe adds what the session has joined, and what waits for its client.
func (s *session) describe(info *SocketInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info.Channels, info.MailboxBytes = s.joined.len(), s.outbound.Held()
	for actor := range s.joined.each() {
		messages, behind := actor.Depth()
		info.Mailbox += messages
		if behind {
			info.Behind++
		}
	}
}

// close ends all channels and waits until their handlers have returned. Nothing
// is received meanwhile or afterwards.
func (s *session) close() {
	s.expiry.stop()
	s.endChannels()
	s.group.Wait()
}

// endChannels ends all channels, without waiting for their handlers.
func (s *session) endChannels() {
	s.mu.Lock()
	actors := s.joined.all()
	s.mu.Unlock()
	for _, a := range actors {
		a.End(channels.ErrDisconnected)
	}
}

// refusedFor is what a client is told that is not admitted.
func refusedFor(err error) outbound.JoinReason {
	if errors.Is(err, ErrUnavailable) {
		return outbound.JoinUnavailable
	}
	return outbound.JoinUnauthorized
}

// turnDown answers a join that no actor answers, and counts it.
func (s *session) turnDown(why outbound.JoinReason, to outbound.Address, told string) {
	s.replyError(to, told)
	s.outbound.CountJoin(why)
}

func (s *session) replyError(to outbound.Address, reason string) {
	s.reply(to, outbound.StatusError, outbound.Payload{Data: appendReason(nil, reason)})
}

// reply answers what belongs to no channel.
func (s *session) reply(to outbound.Address, status outbound.Status, response outbound.Payload) {
	frame, err := phoenix.Encoder{}.AppendReply(nil, s.format, to, status, response)
	if err == nil {
		err = s.outbound.Reply(frame)
	}
	if err != nil && !errors.Is(err, outbound.ErrClosed) && !errors.Is(err, outbound.ErrOverflow) {
		if withheld, ok := s.config.throttle.Allow("reply"); ok {
			s.config.Logger.Error("reply failed", "topic", to.Topic, "error", err, "failed_since", withheld)
		}
	}
}

var emptyObject = outbound.Payload{Data: []byte("{}")}

// appendReason appends {"reason": reason}.
func appendReason(dst []byte, reason string) []byte {
	return append(phoenix.AppendQuoted(append(dst, `{"reason":`...), reason), '}')
}
