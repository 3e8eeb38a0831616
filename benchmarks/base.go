package benchmarks

import (
	"maps"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Base is what scenarios have in common: where they are run, who watches what,
// and how events get there.
type Base struct {
	Called string // the scenario's name
	About  string // what it measures, in a line
	Server target.Server
	By     target.Way // how events are published
	swarm.Load
}

// Name implements [Scenario].
func (s *Base) Name() string { return s.Called }

// Measures implements [Scenario].
func (s *Base) Measures() string { return s.About }

// Common implements [ServerScenario].
func (s *Base) Common() *Base { return s }

// with adds the load's settings to a scenario's own.
func (s *Base) with(settings map[string]any) map[string]any {
	maps.Copy(settings, map[string]any{"topics": &s.Topics, "sockets": &s.Sockets, "payload": &s.Payload})
	return settings
}

func (s *Base) params(more ...report.Param) []report.Param {
	all := []report.Param{{Name: "topics", Value: s.Topics}, {Name: "sockets", Value: s.Sockets}, {Name: "payload_bytes", Value: s.Payload}}
	if s.By != "" {
		all = append(all, report.Param{Name: "published_by", Value: string(s.By)})
	}
	return append(all, more...)
}
