package benchmarks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Presence measures what it costs that many come to one topic at the same time, whose
// clients are told who is there: sockets that are spread over the nodes of a cluster, each
// a process on one Postgres, join it at once, and each is told of all the others.
type Presence struct {
	// Program is the sluice binary that the nodes run.
	Program string
	// DatabaseURL is a Postgres; the run makes a schema of its own there.
	DatabaseURL string
	// Log is told what the nodes log. Nil: nobody asks.
	Log io.Writer

	Nodes   int // 1: a node that is alone, to compare with
	Sockets int
}

// maxPresenceSockets is how many are listed at most: beyond, no list would have all.
const maxPresenceSockets = 10_000

// DefaultPresence is 500 sockets on three nodes.
func DefaultPresence() *Presence { return &Presence{Nodes: 3, Sockets: 500} }

// Name implements [Scenario].
func (*Presence) Name() string { return "presence" }

// Measures implements [Scenario].
func (*Presence) Measures() string {
	return "presence: many come to one topic at once, over nodes; messages and bytes until each knows all"
}

// Settings are its parameters, which flags set.
func (p *Presence) Settings() Settings {
	return Settings{Numbers: map[string]Setter{"nodes": Number(&p.Nodes), "sockets": Number(&p.Sockets)}}
}

func (p *Presence) validate() error {
	switch {
	case p.Program == "" || p.DatabaseURL == "":
		return errors.New("benchmarks: presence without a program to run, or a Postgres: give --database-url, or --postgres")
	case p.Nodes < 1 || p.Sockets < p.Nodes || p.Sockets > maxPresenceSockets:
		return fmt.Errorf("benchmarks: presence of %d sockets on %d nodes: want 1 to %d sockets, and one on each node", p.Sockets, p.Nodes, maxPresenceSockets)
	}
	return nil
}

// Run implements [Scenario].
func (p *Presence) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if err := p.validate(); err != nil {
		return r, err
	}
	folder, err := os.MkdirTemp("", "sluice-presence-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	rules := filepath.Join(folder, "rules.yaml")
	text := fmt.Sprintf("topics:\n  - match: %q\n    presence: {max: %d}\n", swarm.TopicPrefix+"*", maxPresenceSockets)
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		return r, err
	}
	nodes, stop, err := (&target.Cluster{
		Program: p.Program, DatabaseURL: p.DatabaseURL, Nodes: p.Nodes, Log: p.Log,
		Flags: []string{"--config", rules, "--max-connections", fmt.Sprint(maxPresenceSockets), "--heartbeat-timeout", "1h"}, // the sockets send none
	}).Start(ctx)
	if err != nil {
		return r, err
	}
	run := &presenceRun{Presence: p, nodes: nodes, topic: newPrefix() + "0", progress: progress}
	err = run.connect(ctx)
	if err == nil {
		err = run.storm(ctx, &r)
	}
	run.close()
	if err = errors.Join(err, stop()); err != nil {
		return report.Result{}, err
	}
	return r, nil
}

// presenceRun is one run of it.
type presenceRun struct {
	*Presence
	nodes    []*target.Endpoint
	topic    string
	progress report.Progress
	clients  []*presenceClient
	reading  sync.WaitGroup

	whole    atomic.Int64 // clients that know all
	messages atomic.Int64 // that have come
	bytes    atomic.Int64
}

// presenceClient is one socket.
type presenceClient struct {
	conn   net.Conn
	joined time.Duration // from its join to the answer; owned by its reader, the run's when that has ended
	err    error         // likewise
}

// connect connects all sockets, over the nodes in turn.
func (p *presenceRun) connect(ctx context.Context) error {
	for i := range p.Sockets {
		conn, buffered, _, err := ws.Dialer{}.Dial(ctx, p.nodes[i%len(p.nodes)].Sockets+swarm.Phoenix{}.Path())
		if err != nil {
			return fmt.Errorf("connect socket %d: %w", i, err)
		}
		if buffered != nil { // nobody speaks before the join
			ws.PutReader(buffered)
		}
		p.clients = append(p.clients, &presenceClient{conn: conn})
		p.progress.Tell("sockets", int64(i+1), int64(p.Sockets))
	}
	return nil
}

// storm has all sockets join at once, and waits until each knows all.
func (p *presenceRun) storm(ctx context.Context, r *report.Result) error {
	usage := func() (cpu time.Duration) {
		for _, n := range p.nodes {
			cpu += target.UsageOf(n.PID).CPU
		}
		return cpu
	}
	before, began := usage(), time.Now()
	for _, c := range p.clients {
		p.reading.Go(func() { c.err = p.follow(c, began) })
	}
	for _, c := range p.clients {
		frame := ws.MaskFrameInPlace(ws.NewTextFrame(fmt.Appendf(nil, `["1","1",%q,"phx_join",{}]`, p.topic)))
		if err := ws.WriteFrame(c.conn, frame); err != nil {
			return fmt.Errorf("join: %w", err)
		}
	}
	look := time.NewTicker(presenceLook)
	defer look.Stop()
	for late := began.Add(presencePatience); p.whole.Load() < int64(p.Sockets); {
		p.progress.Tell("sockets that know all", p.whole.Load(), int64(p.Sockets))
		if time.Now().After(late) {
			r.Broken = fmt.Sprintf("after %v %d of %d sockets know all", presencePatience, p.whole.Load(), p.Sockets)
			break
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	took, messages, bytes := time.Since(began), p.messages.Load(), p.bytes.Load()
	r.CPUSeconds, r.Seconds = (usage() - before).Seconds(), took.Seconds()
	for _, n := range p.nodes {
		r.Memory = max(r.Memory, target.UsageOf(n.PID).RSS)
	}
	p.close()
	p.report(r, took, messages, bytes)
	return nil
}

// presencePatience is how long it may take until all know all, on a machine that has much
// else to do.
const presencePatience = 5 * time.Minute

// presenceLook is how often it is asked whether all know all.
const presenceLook = 5 * time.Millisecond

// follow reads what a socket is told, until it is closed.
func (p *presenceRun) follow(c *presenceClient, began time.Time) error {
	var roster swarm.Roster
	knew := false
	for {
		header, err := ws.ReadHeader(c.conn)
		if err != nil {
			return err
		}
		text := make([]byte, header.Length)
		if _, err := io.ReadFull(c.conn, text); err != nil {
			return err
		}
		if header.OpCode != ws.OpText {
			continue
		}
		var event string
		var payload json.RawMessage
		if err := json.Unmarshal(text, &[]any{new(any), new(any), new(any), &event, &payload}); err != nil {
			return fmt.Errorf("a message that is none: %.200s: %w", text, err)
		}
		p.messages.Add(1)
		p.bytes.Add(header.Length)
		switch event {
		case "phx_reply":
			c.joined = time.Since(began)
		case "presence_state":
			err = roster.State(payload)
		case "presence_diff":
			err = roster.Diff(payload)
		default:
			err = fmt.Errorf("%s came: %.200s", event, payload)
		}
		if err != nil {
			return err
		}
		if knows := roster.Len() == p.Sockets; knows != knew {
			knew = knows
			p.whole.Add(map[bool]int64{true: 1, false: -1}[knows])
		}
	}
}

// close ends all sockets. Who has been closed already does not mind.
func (p *presenceRun) close() {
	for _, c := range p.clients {
		_ = c.conn.Close()
	}
	p.reading.Wait()
}

func (p *presenceRun) report(r *report.Result, took time.Duration, messages, bytes int64) {
	r.Scenario, r.Server = p.Name(), fmt.Sprintf("%d nodes", p.Nodes)
	r.Params = []report.Param{{Name: "nodes", Value: p.Nodes}, {Name: "sockets", Value: p.Sockets}}
	joins := swarm.NewLatencies()
	for _, c := range p.clients {
		joins.Record(c.joined)
		if c.err != nil && !errors.Is(c.err, net.ErrClosed) {
			r.Cut++
			if r.CutBecause == "" {
				r.CutBecause = c.err.Error()
			}
		}
	}
	r.Joins = joins.Percentiles()
	r.Addf("all knew all after", "%v", took.Round(time.Millisecond))
	r.Addf("messages", "%d, %.1f to each socket", messages, float64(messages)/float64(p.Sockets))
	r.Addf("bytes", "%d, %.0f for each two that know each other", bytes, float64(bytes)/float64(p.Sockets*p.Sockets))
}
