package benchmarks

import (
	"maps"
	"time"

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

// settings are the load's, and a scenario's own.
func (s *Base) settings(runFor *time.Duration, own map[string]Setter) Settings {
	numbers := map[string]Setter{"topics": Number(&s.Topics), "sockets": Number(&s.Sockets), "channels": Number(&s.Channels), "payload": Number(&s.Payload)}
	maps.Copy(numbers, own)
	return Settings{For: runFor, Numbers: numbers}
}

func (s *Base) params(more ...report.Param) []report.Param {
	all := []report.Param{{Name: "topics", Value: s.Topics}, {Name: "sockets", Value: s.Sockets}, {Name: "payload_bytes", Value: s.Payload}}
	if s.Channels > 0 {
		all = append(all, report.Param{Name: "channels_per_socket", Value: len(s.Watched(0))})
	}
	if s.By != "" {
		all = append(all, report.Param{Name: "published_by", Value: string(s.By)})
	}
	return append(all, more...)
}
