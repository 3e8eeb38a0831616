package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/chaos"
)

// configure sets what was given, and refuses what the scenario has no use for.
func (b *benchCmd) configure(scenario benchmarks.Scenario, log io.Writer) error {
	switch s := scenario.(type) {
	case *chaos.Chaos:
		return b.configureChaos(s, log)
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
	s.DatabaseURL, s.Log = b.DatabaseURL, log
	err = b.set(map[string]any{
		"topics": &s.Topics, "sockets": &s.Sockets, "seed": &s.Seed, "for": &s.For,
		"faults": &s.Faults, "nodes": &s.Nodes, "inserters": &s.Writers,
	})
	if err != nil {
		return err
	}
	return b.enoughFiles(2 * s.Sockets) // through relays
}

// set sets each field whose flag was given. Of all scenarios, those are set that
// have a use for it.
func (b *benchCmd) set(fields map[string]any) error {
	all := b.Scenario == allScenarios
	if b.For != nil {
		field, ok := fields["for"].(*time.Duration)
		switch {
		case ok:
			*field = *b.For
		case !all:
			return b.useless("for", b.For.String())
		}
	}
	for _, flag := range []struct {
		name  string
		given *int64
	}{
		{"seed", b.Seed}, {"faults", b.Faults}, {"nodes", b.Nodes}, {"inserters", b.Inserters}, {"topics", b.Topics},
		{"sockets", b.Sockets}, {"events", b.Events}, {"rate", b.Rate}, {"payload", b.Payload}, {"batch", b.Batch},
		{"window", b.Window}, {"rounds", b.Rounds},
	} {
		if flag.given == nil {
			continue
		}
		if *flag.given < 0 {
			return &usageError{"--" + flag.name, fmt.Sprint(*flag.given), "a number from 0"}
		}
		if !setNumber(fields[flag.name], *flag.given) && !all {
			return b.useless(flag.name, fmt.Sprint(*flag.given))
		}
	}
	return nil
}

// setNumber sets a field, and tells whether it can be set.
func setNumber(field any, to int64) bool {
	switch field := field.(type) {
	case *int:
		*field = int(to)
	case *int64:
		*field = to
	case *uint64:
		*field = uint64(to)
	case *float64:
		*field = float64(to)
	default:
		return false
	}
	return true
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
