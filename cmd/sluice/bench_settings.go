package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/chaos"
)

// configure sets what was given, and refuses what the scenario has no use for.
func (b *benchCmd) configure(scenario benchmarks.Scenario, log io.Writer) error {
	switch s := scenario.(type) {
	case *chaos.Chaos:
		return b.configureChaos(s, log)
	case *benchmarks.Cluster:
		return b.configureCluster(s, log)
	case *benchmarks.Presence:
		return b.configurePresence(s, log)
	case benchmarks.ServerScenario:
		server, err := b.server(log)
		if err != nil {
			return err
		}
		base := s.Common()
		base.Server = server
		if base.By != "" {
			if base.By, err = b.way(base.By); err != nil {
				return err
			}
		}
		if err := b.set(s.Settings()); err != nil {
			return err
		}
		return b.enoughFiles(base.Sockets)
	}
	return nil
}

func (b *benchCmd) configureChaos(s *chaos.Chaos, log io.Writer) (err error) {
	if s.Program, err = executable(); err != nil {
		return err
	}
	s.DatabaseURL, s.Log, s.Bus = b.DatabaseURL, log, chaos.BusKind(b.Bus)
	if s.Embedded = b.Embedded; s.Embedded {
		s.Nodes = 1
	}
	err = b.set(benchmarks.Settings{For: &s.For, Numbers: map[string]benchmarks.Setter{
		"topics": benchmarks.Number(&s.Topics), "sockets": benchmarks.Number(&s.Sockets), "seed": benchmarks.Number(&s.Seed),
		"faults": benchmarks.Number(&s.Faults), "nodes": benchmarks.Number(&s.Nodes), "inserters": benchmarks.Number(&s.Writers),
	}})
	if err != nil {
		return err
	}
	if s.Embedded && s.Nodes != 1 {
		return &usageError{"--nodes", fmt.Sprint(s.Nodes), "1 with --embedded: a folder has one service"}
	}
	if s.Bus != "" && s.Bus != chaos.BusNone && s.Nodes < 2 {
		return &usageError{"--bus", b.Bus, "none with one node: give --nodes 2 or more"}
	}
	return b.enoughFiles(2 * s.Sockets) // through relays
}

func (b *benchCmd) configureCluster(s *benchmarks.Cluster, log io.Writer) (err error) {
	if s.Program, err = b.clusterProgram(); err != nil {
		return err
	}
	s.DatabaseURL, s.Log = b.DatabaseURL, log
	if err := b.set(s.Settings()); err != nil {
		return err
	}
	return b.enoughFiles(s.Sockets)
}

func (b *benchCmd) configurePresence(s *benchmarks.Presence, log io.Writer) (err error) {
	if s.Program, err = b.clusterProgram(); err != nil {
		return err
	}
	s.DatabaseURL, s.Log = b.DatabaseURL, log
	if err := b.set(s.Settings()); err != nil {
		return err
	}
	return b.enoughFiles(s.Sockets)
}

// clusterProgram is what scenarios run that start nodes by themselves, on a Postgres.
func (b *benchCmd) clusterProgram() (string, error) {
	if b.DatabaseURL == "" || b.Target != "" {
		return "", &usageError{"--database-url", b.DatabaseURL, "a Postgres for " + b.Scenario + ", which starts its nodes by itself; or give --postgres"}
	}
	return executable()
}

// set sets each field whose flag was given. Of all scenarios, those are set that
// have a use for it.
func (b *benchCmd) set(settings benchmarks.Settings) error {
	all := b.Scenario == allScenarios
	switch {
	case b.For == nil:
	case settings.For != nil:
		*settings.For = *b.For
	case !all:
		return b.useless("for", b.For.String())
	}
	for _, flag := range []struct {
		name  string
		given *int64
	}{
		{"seed", b.Seed}, {"faults", b.Faults}, {"nodes", b.Nodes}, {"inserters", b.Inserters}, {"topics", b.Topics},
		{"sockets", b.Sockets}, {"channels", b.Channels}, {"events", b.Events}, {"rate", b.Rate}, {"payload", b.Payload}, {"batch", b.Batch},
		{"window", b.Window}, {"rounds", b.Rounds},
	} {
		if flag.given == nil {
			continue
		}
		if *flag.given < 0 {
			return &usageError{"--" + flag.name, fmt.Sprint(*flag.given), "a number from 0"}
		}
		switch set := settings.Numbers[flag.name]; {
		case set != nil:
			set(*flag.given)
		case !all:
			return b.useless(flag.name, fmt.Sprint(*flag.given))
		}
	}
	return nil
}

func (b *benchCmd) useless(flag, given string) error {
	return &usageError{"--" + flag, given, "nothing: the scenario " + b.Scenario + " has no use for it"}
}

// sweep is what --sweep asks for.
type sweep struct {
	setting string
	values  []int64
}

func (b *benchCmd) sweep() (s sweep, err error) {
	wrong := &usageError{"--sweep", b.Sweep, "a setting and its values, such as sockets=100,1000,5000"}
	setting, list, ok := strings.Cut(b.Sweep, "=")
	if !ok || setting == "" {
		return s, wrong
	}
	s.setting = setting
	for text := range strings.SplitSeq(list, ",") {
		value, bad := parseInt(strings.TrimSpace(text))
		if bad != "" || value < 1 {
			return s, wrong
		}
		s.values = append(s.values, value)
	}
	return s, nil
}
