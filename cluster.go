package sluice

import (
	"context"
	"runtime/debug"

	"github.com/sluicehq/sluice/internal/cluster"
)

// Tests of whole nodes give them a bus of their own.
func init() { cluster.NewService = newOn }

// newBus makes the bus that the configuration names.
func (s *Service) newBus() cluster.Bus {
	return cluster.NewNone(cluster.NewNode(s.config.Node, version()))
}

// joinCluster has this node hear what others publish, and answer what they ask: each
// part registers here what is its own, in a function of its own, before Run.
func (s *Service) joinCluster() error {
	return nil
}

// startBus runs the bus from when the log is open, which knows the installation that this
// node is of, until its sockets have drained: what they say at their end is still told.
func (s *Service) startBus(ctx context.Context, open bool, fail context.CancelCauseFunc) *task {
	if !open {
		return nil
	}
	return start(ctx, "cluster", s.bus.Run, fail)
}

// version is that of the program, as the Go tool has recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "(unknown)"
}
