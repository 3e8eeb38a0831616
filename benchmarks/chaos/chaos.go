package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
)

// Chaos has faults strike a service of several nodes, each a process of its
// own, while rows are written, clients of every kind watch and hostile ones
// attack. The log is kept for seconds only. At the end each client must have
// every event of its topics once and in order, but for those that it was told it
// cannot have; the log must have what was committed; and no node may have needed
// more memory than [Budget] allows, or been ready while nobody did its work.
//
//	writers ──▶ relay ──▶ Postgres ◀── relay ◀── nodes ◀── clients
//	   └─ what was committed ─────▶ checked ◀───── what arrived ─┘
//
// Nodes that hear each other are a cluster (see Bus): what is between them is struck too,
// long-polls ask any node at each request, and there are watchers, who are told who is
// there and what is broadcast. At the end the lists of all must be the sessions that the
// nodes hold, and a broadcast of each node reach all watchers; none may ever have come
// twice to a connection, or out of its sender's order.
//
// It shares no code with what it checks: the clients speak the protocol by
// themselves, the writers know what they have committed.
type Chaos struct {
	// Program is the sluice binary that the nodes run.
	Program string
	// DatabaseURL is a Postgres, as a URL with a host and a port. The run makes
	// a schema of its own there. It belongs to others, and only what can be done
	// from outside strikes it. Empty: the run starts PostgreSQL itself, with a
	// standby, and takes these down too.
	DatabaseURL string
	// Embedded has one node run on the embedded store, in a folder of the run's
	// own, and no PostgreSQL.
	Embedded bool
	// Seed makes the plan: which faults strike, when, whom and for how long,
	// what is written, and what the clients are like.
	Seed uint64
	// For is how long faults strike, Faults how many: the run ends with what
	// comes first. Zero: the other one alone counts.
	For    time.Duration
	Faults int

	// Spared are kinds of faults and of hostile clients, by their names in the
	// report, that there are none of.
	Spared []string
	// Only are kinds of faults, by their names in the report, that are all there are.
	// Empty: all kinds that the run is open to.
	Only []string

	Nodes int // processes on one database
	// Bus is how the nodes hear each other. Empty: BusRoutes for three or more of them,
	// BusNone for fewer.
	Bus BusKind
	// PresenceWithin is how soon all lists of who is there must be whole, once the last
	// fault is over, the nodes are ready and know each other again, and clients have come
	// back. Zero: however long it takes, up to some minutes.
	PresenceWithin time.Duration
	Topics         int
	Sockets        int // clients; each watches some of the topics
	Writers        int // that insert at the same time
	// Pause is how long each writer rests between transactions, at most. A longer
	// one leaves the faults what they are, and spares the machine. Zero: 20 ms.
	Pause time.Duration
	// Spacing is how many events are committed between two faults, at most. Fewer make a
	// run of as many faults shorter; which faults these are, and in which order, stays.
	// Zero: 600.
	Spacing int64

	// Outage is how long the faults last that nodes have to tell of: after ten
	// seconds without sequencing none of them may say that it is ready. A shorter
	// one spares the time, and that check.
	Outage time.Duration

	// Overhead multiplies what a node may need, for a program that was built
	// to watch itself, such as with the race detector. Zero: 1.
	Overhead float64
	// Log is told each fault, and what the nodes log. Nil: nobody asks.
	Log io.Writer
}

// Default is a minute of it, for 64 clients of two nodes.
func Default() *Chaos {
	return &Chaos{Seed: 1, For: time.Minute, Nodes: 2, Topics: 14, Sockets: 64, Writers: 6, Outage: 13 * time.Second, PresenceWithin: 10 * time.Second}
}

// Name implements [Scenario].
func (*Chaos) Name() string { return "chaos" }

// Measures implements [Scenario].
func (*Chaos) Measures() string {
	return "correctness: faults in nodes, database and clients; nothing lost untold, twice, out of order or unbounded"
}

func (c *Chaos) validate() error {
	switch {
	case c.Program == "":
		return errors.New("benchmarks: chaos without a program to run")
	case c.For <= 0 && c.Faults <= 0:
		return errors.New("benchmarks: chaos without an end: want a duration or a number of faults")
	case c.Nodes < 1 || c.Topics < 1 || c.Sockets < 1 || c.Writers < 1:
		return fmt.Errorf("benchmarks: chaos of %d nodes, %d topics, %d sockets, %d writers: want 1 or more", c.Nodes, c.Topics, c.Sockets, c.Writers)
	case c.Spacing != 0 && c.Spacing <= soonest:
		return fmt.Errorf("benchmarks: chaos with at most %d events between two faults: want more than %d, or 0 for %d", c.Spacing, soonest, latest)
	case c.Embedded && (c.DatabaseURL != "" || c.Nodes != 1):
		return errors.New("benchmarks: chaos on the embedded store takes one node, and no database")
	case c.clustered() && (c.Nodes < 2 || c.Embedded):
		return fmt.Errorf("benchmarks: chaos of %d nodes with a bus: want 2 or more, on Postgres", c.Nodes)
	case !slices.Contains([]BusKind{BusNone, BusRoutes, BusNATS}, c.busKind()):
		return fmt.Errorf("benchmarks: chaos with the bus %q: want %s, %s or %s", c.Bus, BusNone, BusRoutes, BusNATS)
	case c.DatabaseURL != "" && !strings.HasPrefix(c.DatabaseURL, "postgres://") && !strings.HasPrefix(c.DatabaseURL, "postgresql://"):
		return errors.New("benchmarks: chaos takes Postgres, as a URL such as postgres://user@localhost:5432/db")
	}
	return nil
}

// params leave out where it ran: a URL may hold a password.
func (c *Chaos) params() []report.Param {
	params := []report.Param{
		{Name: "seed", Value: c.Seed}, {Name: "for", Value: c.For.String()}, {Name: "faults_at_most", Value: c.Faults}, {Name: "nodes", Value: c.Nodes},
		{Name: "topics", Value: c.Topics}, {Name: "sockets", Value: c.Sockets}, {Name: "writers", Value: c.Writers}, {Name: "owns_database", Value: c.DatabaseURL == "" && !c.Embedded},
	}
	if c.clustered() {
		params = append(params, report.Param{Name: "bus", Value: string(c.busKind())})
	}
	if c.Embedded {
		params = append(params, report.Param{Name: "embedded", Value: true})
	}
	return params
}

// Replay is the command that runs the same plan again.
func (c *Chaos) Replay() string {
	again := fmt.Sprintf("sluice bench chaos --seed %d --for %v --faults %d --nodes %d --topics %d --sockets %d --inserters %d",
		c.Seed, c.For, c.Faults, c.Nodes, c.Topics, c.Sockets, c.Writers)
	if c.Embedded {
		again += " --embedded"
	}
	if c.Bus != "" {
		again += " --bus " + string(c.Bus)
	}
	if c.DatabaseURL != "" {
		again += " --database-url …"
	}
	return again
}

// Run implements [Scenario].
func (c *Chaos) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if err := c.validate(); err != nil {
		return r, err
	}
	run, err := setUp(ctx, c)
	if err != nil {
		return r, fmt.Errorf("%w; again: %s", err, c.Replay())
	}
	defer func() {
		err = errors.Join(err, run.end())
		if err != nil {
			err = fmt.Errorf("%w; again: %s", err, c.Replay())
		} else if !r.Sound() {
			r.Broken = strings.TrimPrefix(r.Broken+"; again: "+c.Replay(), "; ")
		}
	}()
	if err := run.inject(progress); err != nil {
		return r, err
	}
	found, err := run.verify(progress)
	if err != nil {
		return r, err
	}
	return run.report(found), nil
}

// Settings of the nodes: small, so that what they bound is reached.
const (
	mailboxSize  = 256
	mailboxBytes = 64 << 10
	inboundBytes = 64 << 10
	messageBytes = 64 << 10
	recentBytes  = 1 << 20
	fetchBytes   = 1 << 20
	relayBytes   = 2 << 20
	maxDemand    = 50
	lanes        = 2
	// maxPayload is the largest payload, largePayload what most of the large ones
	// are below.
	maxPayload   = 1 << 20
	largePayload = 16 << 10
	// retention is so short that whoever is away for a while falls behind it.
	retention = 4 * time.Second
	// hastyDrain is how long a hasty node may drain.
	hastyDrain = 50 * time.Millisecond
)
