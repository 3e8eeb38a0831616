package sluice

import (
	"context"
	"errors"
	"slices"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/socket"
)

// mountConsole makes the two mounts of the admin listener. One is the operator's: it may
// join any topic, and is told what the node does. The other is for looking at topics as a
// client does that has some token, or none: what serves clients serves it, and the same
// rules count.
func (s *Service) mountConsole() error {
	client := func(ctx context.Context, r *ConnectRequest) (*Socket, error) { return s.hook(ctx, r) }
	s.feed = admin.NewFeed(s.adminConfig, client)
	s.timeline = timeline.New(timeline.Config{
		Metrics: s.metrics,
		Pushed:  s.hub.Pushed,
		Deepest: s.hub.Deepest,
		Levels:  s.levels,
		After:   s.feed.Tell,
	})
	var err error
	if s.console, err = s.mount(socket.Config{Path: admin.ConsolePath, OwnOrigin: true, Connect: s.admin.Connect, Holds: s.admin.Holds}); err != nil {
		return err
	}
	s.console.private = true
	if err := s.console.Handle(admin.ConsoleTopic, s.feed.Channel); err != nil {
		return err
	}
	if err := s.console.Handle("*", s.ruled(func() *topicRules { return nil })); err != nil {
		return err
	}
	config := socket.Config{Path: admin.ViewPath, Routes: s.public.routes, OwnOrigin: true, Connect: s.admin.ConnectAs(client), Holds: s.admin.Holds}
	if s.auth.Judges() {
		config.Admit = s.auth.Admit
		config.Holds = func(socket *channels.Socket) bool { return s.admin.Holds(socket) && s.auth.Holds(socket) }
	}
	if s.view, err = s.mount(config); err != nil {
		return err
	}
	s.view.private = true
	return nil
}

// levels are the events between the log's head and what has been routed, and the rows that
// wait to be sequenced.
func (s *Service) levels() (lag, outboxRows int64) {
	head, position := s.headAndPosition()
	if log := s.stream.Log(); log != nil {
		outboxRows = log.Outbox().Rows
	}
	return head - position, outboxRows
}

// measure sends metrics to where they go, and remembers the last minutes, until ctx ends.
func (s *Service) measure(ctx context.Context) error {
	ended := make(chan error, 1) // one send, by the goroutine of the timeline
	go func() { ended <- s.timeline.Run(ctx) }()
	return errors.Join(s.metrics.Run(ctx), <-ended)
}

// SlowestSockets implements [admin.Node].
func (v adminView) SlowestSockets(limit int) (slowest []SocketInfo, total int) {
	slowest = []SocketInfo{}
	for _, m := range v.mounts {
		list := m.endpoint.List()
		total += len(list)
		slowest = append(slowest, list...)
	}
	slices.SortFunc(slowest, admin.SlowestFirst)
	return slowest[:min(limit, len(slowest))], total
}
