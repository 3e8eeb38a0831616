package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
)

// benchCmd runs a scenario of package benchmarks. What is not given is the
// scenario's own.
type benchCmd struct {
	Scenario string `arg:"" help:"What to run; list names them all."`

	DatabaseURL string         `group:"Scenario" placeholder:"URL" also:"DATABASE_URL" help:"Postgres to run on, in a schema that is removed afterwards; none: the embedded store, where the scenario can."`
	For         *time.Duration `group:"Scenario" placeholder:"DURATION" help:"How long to run."`
	Seed        *int64         `group:"Scenario" help:"Makes the plan of what happens; the same one, the same plan."`
	Faults      *int64         `group:"Scenario" help:"Faults to strike at most."`
	Nodes       *int64         `group:"Scenario" help:"Processes to run on one database."`
	Writers     *int64         `group:"Scenario" help:"Connections that insert at the same time."`
	Topics      *int64         `group:"Scenario" help:"Topics to write to."`
	Sockets     *int64         `group:"Scenario" help:"Clients to connect."`
	Events      *int64         `group:"Scenario" help:"Events to insert, altogether or for each round."`
	Rate        *int64         `group:"Scenario" help:"Events to insert per second."`
	Payload     *int64         `group:"Scenario" help:"Bytes of a payload, about."`

	JSON string `name:"json" group:"Report" placeholder:"FILE" help:"File to write the result to, as JSON."`
	Log  string `group:"Report" placeholder:"FILE" help:"File for what the nodes log, and each fault, of scenarios that run nodes as processes."`
}

// Help says more than the one line of the summary.
func (b *benchCmd) Help() string {
	return `Rows go in where applications write them, and are counted where clients receive them. Every run checks that nothing is lost, comes twice or out of order; if something is, the exit status is 1. Clients and service share the machine: compare what was measured in one sitting.

chaos strikes nodes, database connections and clients by a plan that its seed draws, and says how to run the same plan again. It takes Postgres.`
}

// Examples implements exemplary.
func (b *benchCmd) Examples() string {
	return `sluice bench list
sluice bench steady --rate 2000 --for 30s --json steady.json
sluice bench chaos --for 10m --seed 7 --database-url postgres://user@localhost/db
sluice bench slow --sockets 1000`
}

// Run is called by kong.
func (b *benchCmd) Run(ctx context.Context, p process) (err error) {
	if b.Scenario == "list" {
		return listScenarios(p.stdout)
	}
	scenario, err := b.find()
	if err != nil {
		return err
	}
	log := io.Discard
	if b.Log != "" {
		file, err := os.Create(b.Log)
		if err != nil {
			return &refusal{"--log", b.Log, "a file that can be written"}
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		log = file
	}
	if err := b.configure(scenario, log); err != nil {
		return err
	}
	showing := &benchProgress{out: p.stderr, terminal: isTerminal(p.stderr)}
	result, err := scenario.Run(ctx, showing.show)
	showing.end()
	if err != nil {
		return err
	}
	if err := errors.Join(result.WriteTable(p.stdout), b.write(&result)); err != nil {
		return err
	}
	if !result.Sound() {
		return fmt.Errorf("%s: not all was as it must be", b.Scenario)
	}
	return nil
}

func listScenarios(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range benchmarks.Scenarios() {
		fmt.Fprintf(table, "%s\t%s\n", s.Name(), s.Measures())
	}
	return table.Flush()
}

// find returns the scenario that is asked for.
func (b *benchCmd) find() (benchmarks.Scenario, error) {
	names := []string{"list"}
	for _, s := range benchmarks.Scenarios() {
		if s.Name() == b.Scenario {
			return s, nil
		}
		names = append(names, s.Name())
	}
	return nil, &refusal{"<scenario>", b.Scenario, strings.Join(names, ", ")}
}

// settings are a scenario's fields by flag: what each flag sets.
type benchSettings map[string]any

// configure sets what was given, and refuses what the scenario has no use for.
func (b *benchCmd) configure(scenario benchmarks.Scenario, log io.Writer) error {
	var sets benchSettings
	var sockets *int
	switch s := scenario.(type) {
	case *benchmarks.Backlog:
		s.Service.DatabaseURL, sockets = b.DatabaseURL, &s.Sockets
		sets = benchSettings{"topics": &s.Topics, "events": &s.Events, "payload": &s.Payload}
	case *benchmarks.Steady:
		s.Service.DatabaseURL, sockets = b.DatabaseURL, &s.Sockets
		sets = benchSettings{"topics": &s.Topics, "rate": &s.Rate, "payload": &s.Payload, "for": &s.Duration}
	case *benchmarks.Chaos:
		s.DatabaseURL, s.Log, sockets = b.DatabaseURL, log, &s.Sockets
		sets = benchSettings{"topics": &s.Topics, "seed": &s.Seed, "for": &s.For, "faults": &s.Faults, "nodes": &s.Nodes, "writers": &s.Writers}
		if err := executable(&s.Program); err != nil {
			return err
		}
	case *benchmarks.Slow:
		s.DatabaseURL, s.Log, sockets = b.DatabaseURL, log, &s.Sockets
		sets = benchSettings{"events": &s.Events, "rate": &s.Rate, "payload": &s.Payload, "for": &s.For}
		if err := executable(&s.Program); err != nil {
			return err
		}
	}
	sets["sockets"] = sockets
	if err := b.set(sets); err != nil {
		return err
	}
	return enoughFiles(*sockets)
}

// executable is this program, for scenarios that run it.
func executable(program *string) (err error) {
	if *program, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return nil
}

// set sets each field whose flag was given.
func (b *benchCmd) set(sets benchSettings) error {
	if b.For != nil {
		field, ok := sets["for"].(*time.Duration)
		if !ok {
			return b.useless("for", b.For.String())
		}
		*field = *b.For
	}
	for _, flag := range []struct {
		name  string
		given *int64
	}{
		{"seed", b.Seed}, {"faults", b.Faults}, {"nodes", b.Nodes}, {"writers", b.Writers}, {"topics", b.Topics},
		{"sockets", b.Sockets}, {"events", b.Events}, {"rate", b.Rate}, {"payload", b.Payload},
	} {
		if flag.given == nil {
			continue
		}
		if *flag.given < 0 {
			return &refusal{"--" + flag.name, fmt.Sprint(*flag.given), "a number from 0"}
		}
		switch field := sets[flag.name].(type) {
		case *int:
			*field = int(*flag.given)
		case *int64:
			*field = *flag.given
		case *uint64:
			*field = uint64(*flag.given)
		case *float64:
			*field = float64(*flag.given)
		default:
			return b.useless(flag.name, fmt.Sprint(*flag.given))
		}
	}
	return nil
}

func (b *benchCmd) useless(flag, given string) error {
	return &refusal{"--" + flag, given, "nothing: the scenario " + b.Scenario + " has no use for it"}
}

// filesBeside are what a run opens beside its sockets.
const filesBeside = 256

// enoughFiles raises the limit of open files as far as it goes, and refuses
// more sockets than that is enough for: each has two ends, here perhaps.
func enoughFiles(sockets int) error {
	limit := raiseFileLimit()
	if most := (limit - filesBeside) / 2; limit > 0 && int64(sockets) > most {
		return &refusal{"--sockets", fmt.Sprint(sockets), fmt.Sprintf("up to %d, since this process may open %d files; more with: ulimit -n", max(0, most), limit)}
	}
	return nil
}

// write writes the result to its file, if there is one.
func (b *benchCmd) write(result *benchmarks.Result) error {
	if b.JSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	return os.WriteFile(b.JSON, append(text, '\n'), 0o644)
}
