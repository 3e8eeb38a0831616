package sluice

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/presence"
	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/relay"
)

// Tests of whole nodes give them a bus of their own.
func init() { cluster.NewService = newOn }

// newBus makes the bus that the configuration names; nil: there are no other nodes.
func (s *Service) newBus(joins *cluster.Config) cluster.Bus {
	if joins == nil {
		return cluster.NewNone(cluster.NewNode(s.config.Node, version()))
	}
	s.shared = joins.Secret
	joins.Metrics = s.metrics
	joins.Installation = func() string { return s.monitor.Extent().Installation }
	return cluster.New(*joins)
}

// joinCluster has this node hear what others publish, and answer what they ask: each
// part registers here what is its own, in a function of its own, before Run.
func (s *Service) joinCluster() error {
	s.metrics.GaugeFunc(metrics.ClusterNodes, func() int64 { return int64(len(s.bus.Nodes()) + 1) })
	admin.Answer(s.adminConfig())
	if err := s.hearRevocations(); err != nil {
		return err
	}
	if _, alone := s.bus.(*cluster.None); alone {
		return nil
	}
	return errors.Join(s.joinBroadcasts(), s.presences.Join(presenceBus{s.bus}))
}

// startBus runs the bus from when the log is open, which knows the installation that this
// node is of, until its sockets have drained: what they say at their end is still told.
func (s *Service) startBus(ctx context.Context, open bool, fail context.CancelCauseFunc) *task {
	if !open {
		return nil
	}
	return start(ctx, "cluster", func(ctx context.Context) error {
		s.lookForMissing(ctx)
		broadcasts := start(ctx, "broadcasts", s.runBroadcasts, fail)
		return errors.Join(s.config.clusterEnded(s.bus.Run(ctx)), broadcasts.stop())
	}, fail)
}

// openRelayed opens the log, and has it read through the bus where there is one. The
// embedded store has one process, and so nobody to share its reads with.
func (s *Service) openRelayed(ctx context.Context) (store.Log, error) {
	relay.Measure(s.metrics) // also where it counts nothing
	log, err := openLog(ctx, &s.config, s.logger, s.metrics, s.readiness.Fail)
	if err != nil {
		return nil, err
	}
	source, shared := log.(relay.Source)
	if _, alone := s.bus.(*cluster.None); alone || !shared || s.config.Relay == RelayOff {
		return log, nil
	}
	relayed, err := relay.New(source, s.bus, relay.Config{Bytes: int(s.config.RelayBytes), Metrics: s.metrics, Logger: s.logger})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return relayed, nil
}

// newHandover makes what takes requests of long-polls to the nodes that hold their
// sessions. A node that is alone has none.
func (s *Service) newHandover() *socket.Handover {
	if _, alone := s.bus.(*cluster.None); alone {
		return nil
	}
	return socket.NewHandover(s.bus, s.metrics)
}

// openHandover lets sessions begin, whose tokens all nodes of the installation know: who
// has the cluster's secret and can read the database.
func (s *Service) openHandover() {
	if s.handover != nil {
		s.handover.Open(append(s.shared[:len(s.shared):len(s.shared)], s.monitor.Extent().Installation...))
	}
}

// version is that of the program, as the Go tool has recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(unknown)"
}

// PresenceEntry is one who is on a topic: see [Service.Presences].
type PresenceEntry = channels.PresenceEntry

// Presences are those who are on a topic now, on all nodes: the ones that are listed, at
// most as many as the topic's rule says, and how many there are in all.
func (s *Service) Presences(topic string) (listed []PresenceEntry, total int) {
	return s.presences.List(topic)
}

// newPresences makes what knows who is on which topic.
func (s *Service) newPresences() (*presence.Tracker, error) {
	return presence.New(presence.Config{
		Interval: s.config.PresenceInterval,
		Permdown: s.config.PresencePermdown,
		Max:      s.config.MaxPresences,
		Listed: func(topic string) int {
			if rule := s.rules().ruleForOwner(topic); rule != nil {
				return rule.Presence.listed()
			}
			return presence.DefaultMax
		},
		Metrics: s.metrics,
		Logger:  s.logger,
	})
}

// presenceBus is the cluster's bus as presences use it.
type presenceBus struct{ bus cluster.Bus }

const (
	presenceSubject  = "pres"
	presenceSnapshot = "pres.snap"
)

// Self implements [presence.Bus].
func (b presenceBus) Self() (id, name string) { return b.bus.Self().ID, b.bus.Self().Name }

// Publish implements [presence.Bus].
func (b presenceBus) Publish(data []byte) error { return b.bus.Publish(presenceSubject, data) }

// Subscribe implements [presence.Bus].
func (b presenceBus) Subscribe(receive func(from string, data []byte)) (end func(), err error) {
	return b.bus.Subscribe(presenceSubject, func(m cluster.Message) { receive(m.From, m.Data) })
}

// Answer implements [presence.Bus].
func (b presenceBus) Answer(answer func(data []byte) ([]byte, error)) {
	b.bus.Answer(presenceSnapshot, func(_ context.Context, m cluster.Message) ([]byte, error) { return answer(m.Data) })
}

// Request implements [presence.Bus].
func (b presenceBus) Request(ctx context.Context, node string, data []byte) ([]byte, error) {
	return b.bus.Request(ctx, node, presenceSnapshot, data)
}
