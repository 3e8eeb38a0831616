package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Cluster measures what crosses nodes. Each node is a process of its own, all on one
// Postgres and connected on loopback; sockets are spread evenly over them. In turn, each
// for a third of the time: broadcasts in bulk through the first node, broadcasts at an
// even rate through it, whose latency is taken on the other nodes and on its own, and
// rows at that rate, while Postgres counts how often its log is read.
//
// A broadcast is kept nowhere: one that is under way to a node that the machine does not let
// run may be lost. It is counted so, and the next part begins, with sockets of its own.
type Cluster struct {
	// Program is the sluice binary that the nodes run.
	Program string
	// DatabaseURL is a Postgres; the run makes a schema of its own there.
	DatabaseURL string
	// Log is told what the nodes log. Nil: nobody asks.
	Log io.Writer

	Nodes int // 1: a node that is alone, to compare with
	swarm.Load
	// Rate is how many events are published per second in the two last thirds.
	Rate float64
	For  time.Duration
}

// DefaultCluster is three nodes with 300 sockets each.
func DefaultCluster() *Cluster {
	return &Cluster{Nodes: 3, Load: swarm.Load{Topics: 10, Sockets: 900, Payload: 128}, Rate: 100, For: 15 * time.Second}
}

// Name implements [Scenario].
func (*Cluster) Name() string { return "cluster" }

// Measures implements [Scenario].
func (*Cluster) Measures() string {
	return "nodes: broadcasts from one to the sockets of all, their latency across, and how often the log is read in Postgres"
}

// Settings are its parameters, which flags set.
func (c *Cluster) Settings() Settings {
	return Settings{For: &c.For, Numbers: map[string]Setter{
		"nodes": Number(&c.Nodes), "topics": Number(&c.Topics), "sockets": Number(&c.Sockets), "payload": Number(&c.Payload), "rate": Number(&c.Rate)}}
}

func (c *Cluster) validate() error {
	switch {
	case c.Program == "" || c.DatabaseURL == "":
		return errors.New("benchmarks: cluster without a program to run, or a Postgres: give --database-url, or --postgres")
	case c.Nodes < 1 || c.Rate <= 0 || c.third() <= 0:
		return fmt.Errorf("benchmarks: cluster of %d nodes, %v events/s for %v: want 1 or more", c.Nodes, c.Rate, c.For)
	case c.Sockets < c.Nodes*c.Topics:
		return fmt.Errorf("benchmarks: cluster of %d sockets: want one on each of %d nodes for each of %d topics", c.Sockets, c.Nodes, c.Topics)
	}
	return c.Load.Validate()
}

func (c *Cluster) third() time.Duration { return c.For / 3 }

// Run implements [Scenario].
func (c *Cluster) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if err := c.validate(); err != nil {
		return r, err
	}
	nodes, stop, err := (&target.Cluster{Program: c.Program, DatabaseURL: c.DatabaseURL, Nodes: c.Nodes, Log: c.Log}).Start(ctx)
	if err != nil {
		return r, err
	}
	run := &clusterRun{Cluster: c, nodes: nodes, progress: progress, patience: patience}
	err = run.measure(ctx, &r)
	run.part()
	if err = errors.Join(err, stop(), run.close()); err != nil {
		return report.Result{}, err
	}
	run.report(&r)
	return r, nil
}

// clusterRun is one run of it.
type clusterRun struct {
	*Cluster
	nodes    []*target.Endpoint
	over     [][]*swarm.Swarm // of the parts before, which have what came of them
	swarms   []*swarm.Swarm   // of each node
	prefix   string           // of the part's topics
	progress report.Progress

	patience  time.Duration // for deliveries
	published int64         // in this part
	measuring bool          // whether latencies are taken
	due       int64
}

// errLost ends a part: deliveries have been lost, and so nobody can get all that there were.
var errLost = errors.New("benchmarks: cluster: deliveries have been lost")

// rowsPatience is how long nothing of the rows may come: they are not lost, however slow the
// machine is.
const rowsPatience = 5 * time.Minute

// part ends a part of the run, whose sockets stay as they are.
func (c *clusterRun) part() {
	for _, s := range c.swarms {
		s.Ending()
	}
	if len(c.swarms) > 0 {
		c.over = append(c.over, c.swarms)
	}
	c.swarms, c.published, c.due = nil, 0, 0
}

// close closes the sockets of all parts.
func (c *clusterRun) close() (err error) {
	for _, part := range c.over {
		for _, s := range part {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}

// share is the load of one node.
func (c *clusterRun) share(node int) swarm.Load {
	load := c.Load
	load.Sockets = c.Sockets / c.Nodes
	if node < c.Sockets%c.Nodes {
		load.Sockets++
	}
	return load
}

// interestSettles is how long other nodes may take to hear what a node's sockets have
// joined: that is not acknowledged.
const interestSettles = 2 * time.Second

// join has the sockets of all nodes join, for a part of the run.
func (c *clusterRun) join(ctx context.Context) error {
	c.part()
	c.prefix = newPrefix()
	joined := int64(0)
	for i, node := range c.nodes {
		load := c.share(i)
		s, err := swarm.Open(ctx, swarm.Config{URL: node.Sockets, Dialect: node.Dialect, Load: load, Prefix: c.prefix, Tell: func(n int64) {
			c.progress.Tell("sockets", joined+n, int64(c.Sockets))
		}})
		if err != nil {
			return err
		}
		c.swarms = append(c.swarms, s)
		joined += int64(load.Sockets)
		c.progress.Tell("sockets", joined, int64(c.Sockets))
	}
	select {
	case <-time.After(interestSettles):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *clusterRun) arrived() (n int64) {
	for _, s := range c.swarms {
		n += s.Arrived()
	}
	return n
}

// measure publishes all that there is.
func (c *clusterRun) measure(ctx context.Context, r *report.Result) error {
	if err := c.join(ctx); err != nil {
		return err
	}
	err := c.broadcasts(ctx, r)
	c.measuring = false
	if err != nil && !errors.Is(err, errLost) {
		return err
	}
	if err != nil {
		r.Add("broadcasts_ended", "some were lost")
		if err := c.join(ctx); err != nil {
			return err
		}
	}
	return c.rows(ctx, r)
}

// broadcasts publishes them in bulk, and then at the rate.
func (c *clusterRun) broadcasts(ctx context.Context, r *report.Result) error {
	broadcasts, err := c.nodes[0].Publisher(ctx, target.Broadcast, c.Load, c.prefix)
	if err != nil {
		return err
	}
	defer broadcasts.Close()
	const warmUp = 200
	if err := c.publish(ctx, broadcasts, warmUp); err != nil {
		return err
	}
	if err := c.bulk(ctx, broadcasts, r); err != nil {
		return err
	}
	c.measuring = true
	return c.pace(ctx, broadcasts)
}

// publish publishes events at once, and waits until all sockets have them.
func (c *clusterRun) publish(ctx context.Context, to swarm.Publisher, events int64) error {
	windows := make([]*swarm.Window, len(c.swarms))
	for i, s := range c.swarms {
		windows[i] = s.Announce(events)
	}
	batch := make([]swarm.Event, events)
	at := int64(0)
	if c.measuring {
		at = time.Now().UnixNano()
	}
	for i := range batch {
		batch[i] = c.Event(c.published+int64(i), at)
	}
	c.published += events
	c.due = c.Deliveries(c.published)
	if err := to.Publish(ctx, batch); err != nil {
		return err
	}
	for i, s := range c.swarms {
		complete, err := s.Await(ctx, windows[i], c.patience, func(int64) { c.progress.Tell("deliveries", min(c.arrived(), c.due), c.due) })
		if err != nil {
			return err
		}
		if !complete {
			return fmt.Errorf("%w: node %d: %d of %d deliveries came", errLost, i, c.arrived(), c.due)
		}
	}
	return nil
}

// clusterBatch is how many events are published at a time in bulk.
const clusterBatch = 200

// bulk publishes batches, each once all sockets have the one before.
func (c *clusterRun) bulk(ctx context.Context, to swarm.Publisher, r *report.Result) error {
	began, before, published := time.Now(), c.arrived(), c.published
	var cpu time.Duration
	for _, n := range c.nodes {
		cpu -= target.UsageOf(n.PID).CPU
	}
	var err error
	for time.Since(began) < c.third() {
		if err = c.publish(ctx, to, clusterBatch); err != nil {
			break
		}
		r.Series = append(r.Series, report.Sample{Seconds: time.Since(began).Seconds(), Deliveries: c.arrived() - before})
	}
	if err != nil && !errors.Is(err, errLost) {
		return err
	}
	r.Seconds = time.Since(began).Seconds()
	r.Events, r.Deliveries = c.published-published, c.arrived()-before
	r.EventsPerSecond, r.DeliveriesPerSecond = float64(r.Events)/r.Seconds, float64(r.Deliveries)/r.Seconds
	for _, n := range c.nodes {
		cpu += target.UsageOf(n.PID).CPU
		r.Memory = max(r.Memory, target.UsageOf(n.PID).RSS)
	}
	if r.CPUSeconds = cpu.Seconds(); r.CPUSeconds > 0 {
		r.EventsPerCPUSecond, r.DeliveriesPerCPUSecond = float64(r.Events)/r.CPUSeconds, float64(r.Deliveries)/r.CPUSeconds
	}
	return err
}

// pace publishes one event after the other at the rate, as far as the nodes keep up.
func (c *clusterRun) pace(ctx context.Context, to swarm.Publisher) error {
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.Rate))
	defer tick.Stop()
	for range int64(math.Ceil(c.Rate * c.third().Seconds())) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := c.publish(ctx, to, 1); err != nil {
			return err
		}
	}
	return nil
}

// logScans counts how often the log's partitions have been looked into: as far as
// sessions have told, which they do a second late at most.
const logScans = `SELECT coalesce(sum(seq_scan + coalesce(idx_scan, 0)), 0)::bigint FROM pg_stat_user_tables
	WHERE relid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'sluice_log'::regclass)`

// rows inserts rows at the rate, and counts reads of the log.
func (c *clusterRun) rows(ctx context.Context, r *report.Result) error {
	inserts, err := c.nodes[0].Publisher(ctx, target.Insert, c.Load, c.prefix)
	if err != nil {
		return err
	}
	defer inserts.Close()
	before, err := c.scans(ctx)
	if err != nil {
		return err
	}
	c.patience = rowsPatience
	began, published := time.Now(), c.published
	if err := c.pace(ctx, inserts); err != nil {
		return err
	}
	after, err := c.scans(ctx)
	if err != nil {
		return err
	}
	r.Add("rows", c.published-published)
	r.Addf("log_reads_per_second", "%.1f", float64(after-before)/time.Since(began).Seconds())
	r.Addf("log_reads_per_row", "%.2f", float64(after-before)/float64(c.published-published))
	return nil
}

func (c *clusterRun) scans(ctx context.Context) (n int64, err error) {
	conn, err := pgx.Connect(ctx, c.nodes[0].Database)
	if err != nil {
		return 0, fmt.Errorf("ask for the reads of the log: %w", err)
	}
	err = conn.QueryRow(ctx, logScans).Scan(&n)
	return n, errors.Join(err, conn.Close(ctx))
}

// report tells what came of it, when all has ended.
func (c *clusterRun) report(r *report.Result) {
	r.Scenario, r.Server = c.Name(), fmt.Sprintf("%d nodes", c.Nodes)
	r.Params = []report.Param{
		{Name: "nodes", Value: c.Nodes}, {Name: "topics", Value: c.Topics}, {Name: "sockets", Value: c.Sockets},
		{Name: "payload_bytes", Value: c.Payload}, {Name: "rate", Value: c.Rate}}
	across, joins := swarm.NewLatencies(), swarm.NewLatencies()
	here := swarm.NewLatencies()
	for _, part := range c.over {
		for i, s := range part {
			tally := s.Tally()
			r.Check = r.Check.Plus(tally.Check)
			if r.CutBecause == "" {
				r.CutBecause = tally.CutBecause
			}
			joins.Merge(s.Joins())
			if i == 0 {
				here.Merge(s.Latencies())
			} else {
				across.Merge(s.Latencies())
			}
		}
	}
	switch same := here.Percentiles(); {
	case c.Nodes == 1:
		r.Latency = same
	case same != nil:
		r.Addf("latency_on_the_same_node_ms", "p50 %.3g, p99 %.3g", float64(same.P50), float64(same.P99))
	}
	if c.Nodes > 1 {
		r.Latency = across.Percentiles()
	}
	r.Joins = joins.Percentiles()
}
