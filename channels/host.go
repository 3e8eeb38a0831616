package channels

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/channels/presence"
)

// Publisher appends events to the log. The front door fulfils it from the
// store.
type Publisher interface {
	// Publish returns once the event is durable. It does not keep m.
	Publish(ctx context.Context, m *Message) error
}

// HostConfig says what a Host's channels have at hand.
type HostConfig struct {
	Hub       *Hub              // required
	PubSub    *PubSub           // required
	Encoder   outbound.Encoder  // required
	Publisher Publisher         // nil: channels cannot publish
	History   History           // nil: who asks for what was missed is told that it is not to be had
	Presences *presence.Tracker // who is on which topic; nil: nobody keeps that. Its Audience is this host
	Logger    *slog.Logger      // nil: slog.Default
}

// Host runs channels: it is what all actors share. Its methods may be called
// concurrently.
type Host struct {
	hub       *Hub
	pubsub    *PubSub
	encoder   outbound.Encoder
	publisher Publisher
	history   History
	logger    *slog.Logger
	presences *presence.Tracker // nil: none
	awaiting  awaiting

	failures LogLimiter // of channels
}

// NewHost returns a host that runs nothing yet.
func NewHost(c HostConfig) (*Host, error) {
	if c.Hub == nil || c.PubSub == nil || c.Encoder == nil {
		return nil, errors.New("channels: HostConfig needs Hub, PubSub and Encoder")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Host{hub: c.Hub, pubsub: c.PubSub, encoder: c.Encoder, publisher: c.Publisher, history: c.History, logger: c.Logger,
		presences: c.Presences, awaiting: awaiting{tracker: c.Presences}}, nil
}

// Hub is where the host's channels subscribe.
func (h *Host) Hub() *Hub { return h.hub }

// JoinRequest is a client's wish to join a topic, and what serves it.
type JoinRequest struct {
	To      outbound.Address // Ref is the request's
	Params  Payload
	Format  outbound.Format // for all that is sent to the client
	Small   outbound.Format // in place of it, for what is sent to all on the topic, if that is compressed; 0: Format
	Resume  *Resume         // nil for a plain join
	Factory Factory         // makes what serves the topic
	Options Options         // what counts unless the channel says otherwise

	Socket     func() *Socket // the connection as it is now
	Connection *outbound.Connection
	Inbound    *InboundBytes   // nil: not counted
	Queue      int             // of the client's messages; 0: DefaultInboundQueue
	Context    context.Context // ends when the service stops hard
	Group      *sync.WaitGroup // counts the goroutine of the actor, while it has one

	// Ended is called once when the channel ends for whatever reason, by
	// whoever ends it, with no lock held. Its client may still have messages
	// queued.
	Ended func(*Actor)
}

// overflow is the rule for a join whose channel wants the given one. Without a
// replayer nothing can be caught up, and what resumes is not to be shed.
func (h *Host) overflow(wanted Overflow, resumes bool) Overflow {
	switch replay := h.hub.replayer.Load() != nil; {
	case !replay && (wanted == CatchUp || resumes):
		return Disconnect
	case resumes && wanted != Disconnect:
		return CatchUp
	}
	return wanted
}

// Join starts an actor for a join. The client is answered through the connection.
func (h *Host) Join(r JoinRequest) *Actor {
	charge := joinCharge + len(r.Params.Data)
	r.Inbound.take(charge)
	a := &Actor{
		host:    h,
		joinRef: r.To.JoinRef,
		socket:  r.Socket,
		base:    r.Context,
		group:   r.Group,
		ended:   r.Ended,
		inbound: r.Inbound,
		queue:   int32(cmp.Or(r.Queue, DefaultInboundQueue)),
		pending: &pendingJoin{
			ref:     r.To.Ref,
			factory: r.Factory,
			params:  r.Params,
			charge:  charge,
			resume:  r.Resume,
			options: r.Options.WithDefaults(),
			arrived: time.Now(),
		},
	}
	a.ctx.actor = a
	a.subscription.Init(h.hub, r.To.Topic, a)
	a.mailbox.Init(r.Connection, r.Format, cmp.Or(r.Small, r.Format), a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.start()
	return a
}

// ErrGone is returned by a History for events that are no longer kept.
var ErrGone = errors.New("channels: events are no longer kept")

// History is where channels read what they missed. The front door fulfils it
// from the log.
type History interface {
	// Replay returns a topic's events with after < offset <= upTo, in order, at
	// most limit of them and not many more than bytes. They are all that there are up to
	// through, which is upTo unless they were cut short, or the answer comes from
	// who has not seen that much yet: then it is asked again. It returns ErrGone if
	// some are no longer kept.
	Replay(ctx context.Context, topic string, after, upTo int64, limit, bytes int) (events []Message, through int64, err error)

	// Tail is the offset after which the last count of a topic's events up to upTo
	// lie that are kept, or all that are kept where they are fewer: the one before the
	// first of them, which is upTo, or as far as whoever answers has seen the log, if
	// there are none. It costs no more than reading so many.
	Tail(ctx context.Context, topic string, count int, upTo int64) (after int64, err error)

	// Resume tells whether a client that has seen the log of that epoch (the
	// present one, if it does not say) up to an offset can have all that came
	// after. If it cannot, it begins anew, and gets nothing up to from: it has seen
	// that, or it is no longer kept. This node need not have come as far yet.
	Resume(ctx context.Context, epoch string, after int64) (from int64, whole bool, err error)
}
