package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/baseline"
	"github.com/sluicehq/sluice/benchmarks/chaos"
	"github.com/sluicehq/sluice/internal/pgserver"
)

// benchCmd runs scenarios of package benchmarks. What is not given is the
// scenario's own.
type benchCmd struct {
	Scenario string `arg:"" help:"What to run: list names them, all runs each once but chaos, cluster and presence."`

	Target         string `group:"Server" placeholder:"URL" help:"Server to measure, such as ws://localhost:4000; none: one that is started for the run."`
	AdminURL       string `name:"admin-url" group:"Server" placeholder:"URL" help:"The target's admin listener."`
	AdminTokenFile string `group:"Server" placeholder:"FILE" help:"File with the bearer token of the target's admin listener."`
	Token          string `group:"Server" placeholder:"TOKEN" help:"Token that the clients connect to the target with."`
	TargetPID      *int64 `name:"target-pid" group:"Server" help:"The target's process, if it runs here: its CPU time and memory are measured."`
	InProcess      bool   `group:"Server" help:"Run the server in this process; then its CPU time cannot be told from the clients'."`
	DatabaseURL    string `group:"Server" placeholder:"URL" also:"DATABASE_URL" help:"Postgres to run on, in a schema that is removed afterwards; none: the embedded store. With a target: the one that it reads."`
	Postgres       bool   `group:"Server" help:"Start a PostgreSQL for the run, from the programs of the operating system, and remove it afterwards."`
	Embedded       bool   `group:"Server" help:"Run chaos on the embedded store: one node, in a folder that is removed afterwards."`
	With           string `group:"Server" placeholder:"FLAGS" help:"More flags of serve for the server that is started, in one argument, such as --with='--lanes 4'."`
	Pin            *bool  `group:"Server" help:"Run the server that is started on one core, and the clients on the others: so by default where there are several cores."`

	By        string         `group:"Scenario" placeholder:"WAY" help:"How events are published: broadcast, events (appended to the log) or sql (rows, inserted into Postgres)."`
	For       *time.Duration `group:"Scenario" placeholder:"DURATION" help:"How long to run."`
	Topics    *int64         `group:"Scenario" help:"Topics to publish to."`
	Sockets   *int64         `group:"Scenario" help:"Clients to connect."`
	Channels  *int64         `group:"Scenario" help:"Topics that each client joins, as far as there are so many; none: as few as have all topics watched."`
	Payload   *int64         `group:"Scenario" help:"Bytes of a payload."`
	Events    *int64         `group:"Scenario" help:"Events to publish, altogether or for each round."`
	Batch     *int64         `group:"Scenario" help:"Events published at a time."`
	Window    *int64         `group:"Scenario" help:"Batches on their way at a time."`
	Rate      *int64         `group:"Scenario" help:"Events to publish per second."`
	Rounds    *int64         `group:"Scenario" help:"How often to measure."`
	Seed      *int64         `group:"Scenario" help:"Seed of the plan of faults; the same seed, the same plan."`
	Faults    *int64         `group:"Scenario" help:"Faults to inject at most."`
	Nodes     *int64         `group:"Scenario" help:"Processes to run on one database."`
	Bus       string         `group:"Scenario" placeholder:"KIND" help:"How the nodes of chaos hear each other: routes, nats (one that the run starts) or none. Three of them or more: routes."`
	Inserters *int64         `group:"Scenario" help:"Connections that insert at the same time."`

	Sweep  string `group:"Report" placeholder:"SETTING=N,N,…" help:"Run once for each value of a setting, such as sockets=100,1000,5000, and show how cost grows."`
	Repeat *int64 `group:"Report" help:"Run everything so many times, in turns, and report the median runs."`
	Floor  bool   `group:"Report" help:"Run the same on a baseline right before, the least server that can do it, and report the ratio to it."`
	JSON   string `name:"json" group:"Report" placeholder:"FILE" help:"File to write the results to, as JSON."`
	Plots  string `group:"Report" placeholder:"DIR" help:"Folder for pictures of the results, as SVG; it is created."`
	Log    string `group:"Report" placeholder:"FILE" help:"File for the logs of servers that are started, and for each fault."`
}

// Help says more than the one line of the summary.
func (b *benchCmd) Help() string {
	return `Events go in where applications write them, and are counted where clients receive them. Every run checks that nothing is lost, comes twice or out of order, and that no connection is lost; if something is wrong, the exit status is 1.

The server is started as a process of its own, on a core of its own where there are several, with a store that is removed afterwards. What counts is what it delivers per second of its own CPU time: that depends least on what else the machine has to do. Still, compare only what was measured one right after the other.

chaos injects faults into nodes, database connections and clients, by a plan that its seed draws, and says how to run the same plan again. Without --database-url it starts PostgreSQL with a standby by itself, and injects faults into these too; with --embedded it runs one node on the embedded store. With --nodes 3 or more the nodes are a cluster, and what is between them is struck too. cluster and presence measure what crosses nodes, which they start as processes of their own; --nodes 1 is what to compare with. They take Postgres, and backlog, log and row are about rows there: give them a --database-url, or --postgres.`
}

// Examples implements exemplary.
func (b *benchCmd) Examples() string {
	return `sluice bench fanout --floor --sweep sockets=100,1000,5000 --plots pictures
sluice bench all --postgres --json all.json
sluice bench storm --target ws://localhost:4000 --admin-url http://localhost:4001
sluice bench chaos --for 10m --seed 7`
}

// Run is called by kong.
func (b *benchCmd) Run(ctx context.Context, p process) (err error) {
	switch b.Scenario {
	case "list":
		return listScenarios(p.stdout)
	case floorScenario:
		return baseline.Serve(ctx, b.Target, b.AdminURL, b.DatabaseURL)
	case chaosNodeScenario:
		return chaos.ServeNode(ctx, b.Target)
	}
	if b.Embedded && (b.Scenario != chaosScenario || b.DatabaseURL != "" || b.Postgres) {
		return &usageError{"--embedded", "true", "true for chaos, without --database-url and --postgres"}
	}
	if b.Bus != "" && (b.Scenario != chaosScenario || !slices.Contains(busKinds, chaos.BusKind(b.Bus))) {
		return &usageError{"--bus", b.Bus, "routes, nats or none, for chaos"}
	}
	log, err := b.openLog()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if b.Postgres {
		server, failed := b.ownPostgres()
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, server.Remove()) }()
	}
	plan, err := b.plan(log)
	if err != nil {
		return err
	}
	showing := &benchProgress{out: p.stderr, terminal: isTerminal(p.stderr)}
	results, err := plan.run(ctx, showing)
	if err != nil && ctx.Err() != nil {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	typical := plan.typical(results)
	if err := errors.Join(plan.report(p.stdout, typical), b.write(results), b.draw(p.stderr, plan, typical)); err != nil {
		return err
	}
	for i := range results {
		if !results[i].Sound() {
			return fmt.Errorf("%s: not all was as it must be: %+v", results[i].Scenario, results[i].Check)
		}
	}
	return nil
}

// busKinds are how nodes of chaos can hear each other.
var busKinds = []chaos.BusKind{chaos.BusRoutes, chaos.BusNATS, chaos.BusNone}

// durable has a server of our own behave as one that keeps real data.
var durable = []string{"fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB"}

// ownPostgres starts the database to run on.
func (b *benchCmd) ownPostgres() (*pgserver.Server, error) {
	if b.DatabaseURL != "" || b.Target != "" || b.Scenario == chaosScenario {
		return nil, &usageError{"--postgres", "true", "nothing beside --database-url or --target, nor for chaos, which starts one by itself"}
	}
	server, err := pgserver.New(durable...)
	if err == nil {
		b.DatabaseURL = server.URL()
	}
	return server, err
}

func listScenarios(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, s := range benchmarks.Scenarios() {
		fmt.Fprintf(table, "%s\t%s\n", s.Name(), s.Measures())
	}
	fmt.Fprintf(table, "%s\t%s\n", allScenarios, "each of the above once, but for chaos, cluster and presence")
	return table.Flush()
}

// find returns the scenario of that name.
func (b *benchCmd) find() (benchmarks.Scenario, error) {
	names := []string{"list", allScenarios}
	for _, s := range benchmarks.Scenarios() {
		if s.Name() == b.Scenario {
			return s, nil
		}
		names = append(names, s.Name())
	}
	return nil, &usageError{"<scenario>", b.Scenario, strings.Join(names, ", ")}
}

// nopCloser is a log that nobody asks for.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (b *benchCmd) openLog() (io.WriteCloser, error) {
	if b.Log == "" {
		return nopCloser{io.Discard}, nil
	}
	file, err := os.Create(b.Log)
	if err != nil {
		return nil, &usageError{"--log", b.Log, "a file that can be written"}
	}
	return file, nil
}
