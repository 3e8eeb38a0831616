package sluice

import (
	"context"
	"net/http"
	"slices"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/socket/phoenix"
	"github.com/sluicehq/sluice/stages"
)

// Handle has the channels that factory makes serve the topics that match
// pattern: a topic, or the beginning of topics followed by *. Patterns are
// tried in the order of the calls; for topics that match none, Config.Topics
// says who may do what: see [TopicRule]. Call it before Run.
func (s *Service) Handle(pattern string, factory Factory) error {
	return s.public.Handle(pattern, factory)
}

// Disconnect closes all sockets of that id and says how many these were.
func (s *Service) Disconnect(id string) int {
	n := 0
	for _, m := range s.mounts {
		n += m.endpoint.Disconnect(id)
	}
	return n
}

// Sockets describes open connections of this node, the oldest ones and at most
// limit of them, and says how many there are.
func (s *Service) Sockets(limit int) (oldest []SocketInfo, total int) {
	oldest = []SocketInfo{} // in JSON a list, also with nobody there
	for _, m := range s.mounts {
		list := m.endpoint.List()
		total += len(list)
		oldest = append(oldest, list[:min(limit, len(list))]...)
	}
	slices.SortFunc(oldest, func(a, b SocketInfo) int { return a.Opened.Compare(b.Opened) })
	return oldest[:min(limit, len(oldest))], total
}

// makeSockets makes the topics and the mounts through which they are reached.
func (s *Service) makeSockets() error {
	s.hub = channels.NewHub(s.metrics)
	s.erasures = stages.NewErasures(s.hub, s.logger)
	s.monitor = stages.NewMonitor(s.readiness, s.erasures, s.payload)
	s.pubsub = channels.NewPubSub(s.hub, phoenix.Encoder{})
	s.pubsub.Bound(s.payload.Bytes)
	history := stages.NewLogHistory(&s.stream, s.monitor, s.hub)
	s.replays = channels.NewReplayer(s.hub, history, phoenix.Encoder{}, int(s.config.Recent))
	var err error
	s.host, err = channels.NewHost(channels.HostConfig{
		Hub:       s.hub,
		History:   history,
		PubSub:    s.pubsub,
		Encoder:   phoenix.Encoder{},
		Publisher: stages.NewLogPublisher(&s.stream),
		Logger:    s.logger,
	})
	if err != nil {
		return err
	}
	hook := func(ctx context.Context, r *ConnectRequest) (*Socket, error) { return s.hook(ctx, r) }
	if s.public, err = s.mountPublic(s.config.SocketPath, hook); err != nil {
		return err
	}
	if s.console, err = s.mount(socket.Config{Path: admin.ConsolePath, OwnOrigin: true, Connect: s.admin.Connect, Holds: s.admin.Holds}); err != nil {
		return err
	}
	return s.console.Handle("*", func() Channel { return &ruled{s, func() []TopicRule { return nil }} })
}

// Authenticate is the connect hook that a service has by itself: it lets in
// clients with a token, and those without where Config allows that. A hook of
// your own may ask it first.
func (s *Service) Authenticate(ctx context.Context, r *ConnectRequest) (*Socket, error) {
	return s.auth.Authenticate(ctx, r)
}

// notOpen refuses clients as long as there is no log to serve them from.
var notOpen = &socket.Refusal{Status: http.StatusServiceUnavailable, Reason: "the store is not open yet"}
