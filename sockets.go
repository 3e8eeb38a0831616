package sluice

import (
	"context"
	"net/http"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/store"
)

// Types that an application's own channels are written with. They are those
// of package channels, under the name of the front door.
type (
	// Channel is what happens on a topic, for one client.
	Channel = channels.Channel
	// Factory makes the Channel of one join.
	Factory = channels.Factory
	// InHandler is a Channel that its client may push events to.
	InHandler = channels.InHandler
	// Terminator is a Channel that wants to know when it ends.
	Terminator = channels.Terminator
	// Context is a channel's hold on the world.
	Context = channels.Context
	// Payload is the content of a message from or to one client.
	Payload = channels.Payload
	// Result is what a handled event leads to: a reply, an end, or neither.
	Result = channels.Result
	// Rejection turns a join down.
	Rejection = channels.Rejection
)

// Handle has the channels that factory makes serve the topics that match
// pattern: a topic, or the beginning of topics followed by *. Patterns are
// tried in the order of the calls; topics that match none are open to whoever
// may connect, and take no events from clients. Call it before Run.
func (s *Service) Handle(pattern string, factory Factory) error {
	return s.routes.Handle(pattern, factory)
}

// Disconnect closes all sockets of that id and says how many these were.
func (s *Service) Disconnect(id string) int {
	return s.public.Disconnect(id) + s.console.Disconnect(id)
}

// makeSockets makes the topics and the mounts through which they are reached.
func (s *Service) makeSockets() error {
	s.hub = channels.NewHub(s.metrics)
	s.pubsub = channels.NewPubSub(s.hub, socket.Encoder{})
	host, err := channels.NewHost(channels.HostConfig{
		Hub:       s.hub,
		PubSub:    s.pubsub,
		Encoder:   socket.Encoder{},
		Publisher: publisher{s},
		Logger:    s.logger,
	})
	if err != nil {
		return err
	}
	mount := socket.Config{
		Host:             host,
		MailboxSize:      s.config.MailboxSize,
		MailboxBytes:     int(s.config.MailboxBytes),
		MaxChannels:      s.config.MaxChannels,
		MaxMessageBytes:  int(s.config.MaxMessageBytes),
		HeartbeatTimeout: s.config.HeartbeatTimeout,
		DrainTimeout:     s.config.DrainTimeout,
		Metrics:          s.metrics,
		Logger:           s.logger,
	}
	public, console := mount, mount
	public.Path, public.Routes, public.Connect = s.config.SocketPath, s.routes, s.connect
	public.Origins, public.MaxConnections = s.config.Origins, s.config.MaxConnections
	if s.public, err = socket.New(public); err != nil {
		return err
	}
	console.Path, console.Routes, console.Connect = consoleMount, &channels.Routes{}, s.connectConsole
	if err := console.Routes.Handle("*", newOpen); err != nil {
		return err
	}
	s.console, err = socket.New(console)
	return err
}

// connect lets clients in once there is a log to serve them from.
func (s *Service) connect(context.Context, *socket.ConnectRequest) (*channels.Socket, error) {
	if s.log.Load() == nil {
		return nil, &socket.Refusal{Status: http.StatusServiceUnavailable, Reason: "the store is not open yet"}
	}
	return &channels.Socket{}, nil
}

// connectConsole lets in who brings the admin token.
func (s *Service) connectConsole(ctx context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
	token := r.Token
	if token == "" {
		token = r.Params.Get("token")
	}
	if !s.isAdmin(token) {
		return nil, &socket.Refusal{Status: http.StatusUnauthorized, Reason: "the admin token is missing or wrong"}
	}
	return s.connect(ctx, r)
}

// open is the service's own channel: whoever joins gets the topic's events,
// and pushes nothing.
type open struct{}

func newOpen() Channel { return open{} }

// Join implements [Channel].
func (open) Join(*Context, Payload) (any, error) { return nil, nil }

// HandleIn implements [InHandler].
func (open) HandleIn(*Context, string, Payload) Result {
	return channels.Error(channels.Reason("forbidden"))
}

// publisher appends what channels publish to the log.
type publisher struct{ service *Service }

// Publish implements [channels.Publisher].
func (p publisher) Publish(ctx context.Context, m *channels.Message) error {
	log := p.service.log.Load()
	if log == nil {
		return channels.ErrNoLog
	}
	return (*log).Append(ctx, []store.Draft{{Topic: m.Topic, Name: m.Event, Key: m.Key, Payload: m.Payload}})
}
