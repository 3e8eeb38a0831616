package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Cluster is nodes of one service, each a process of its own, on one Postgres; they
// connect with each other on loopback.
type Cluster struct {
	Program     string // the sluice binary
	DatabaseURL string // a Postgres
	Nodes       int    // 1: a node that is alone
	Flags       []string
	Log         io.Writer // is told what they log. Nil: nobody asks.
}

// Start brings all nodes up, and returns when they are ready and know each other: an
// endpoint for each. Stop ends them all, and is called once.
func (c *Cluster) Start(ctx context.Context) (nodes []*Endpoint, stop func() error, err error) {
	config := sluice.Config{DatabaseURL: c.DatabaseURL}
	scratch, err := NewSchema(ctx, &config)
	if err != nil {
		return nil, nil, err
	}
	undo := []func() error{scratch.Remove} // in the order that it was done in
	stop = func() (err error) {
		for _, each := range slices.Backward(undo) {
			err = errors.Join(err, each())
		}
		return err
	}
	var routes []string
	var processes []*Process
	for i := range c.Nodes {
		name := "node-" + strconv.Itoa(i)
		args := slices.Concat([]string{
			"serve", "--node", name, "--listen", "{listen}", "--admin-listen", "{admin}", "--log-format", "json",
			"--database-url", config.DatabaseURL, "--max-channels", "100000",
		}, c.Flags)
		if c.Nodes > 1 {
			lease, err := LeaseAddress()
			if err != nil {
				return nil, nil, errors.Join(err, stop())
			}
			undo = append(undo, lease.Release)
			args = append(args, "--cluster-listen", lease.Address)
			if len(routes) > 0 {
				args = append(args, "--cluster-routes", strings.Join(routes, ","))
			}
			routes = append(routes, lease.Address)
		}
		p, err := NewProcess(c.Program, name, c.Log, args...)
		if err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		undo = append(undo, p.Release)
		if err := p.Start(); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
		undo = append(undo, func() error {
			if !p.Running() {
				return fmt.Errorf("node %s has ended: %s", p.Name(), p.LastLine())
			}
			return p.Stop()
		})
		if err := p.Ready(ctx); err != nil { // the first one makes the tables
			return nil, nil, errors.Join(err, stop())
		}
		processes = append(processes, p)
		nodes = append(nodes, &Endpoint{
			Sockets: "ws://" + p.Public, Admin: "http://" + p.Admin, Database: config.DatabaseURL,
			PID: p.command.Process.Pid, Dialect: swarm.Phoenix{},
		})
	}
	for _, p := range processes {
		if err := p.knows(ctx, c.Nodes); err != nil {
			return nil, nil, errors.Join(err, stop())
		}
	}
	return nodes, stop, nil
}

// knows waits until a node knows so many, itself included.
func (p *Process) knows(ctx context.Context, nodes int) error {
	if nodes == 1 {
		return nil
	}
	look := time.NewTicker(readyPause)
	defer look.Stop()
	for {
		text, err := p.Get(ctx, "/metrics")
		if n, found := metricOf(text, "sluice_cluster_nodes"); err == nil && found && int(n) >= nodes {
			return nil
		}
		select {
		case <-look.C:
		case <-p.exited:
			return fmt.Errorf("node %s ended: %s", p.log.name, p.log.last())
		case <-ctx.Done():
			return fmt.Errorf("wait until node %s knows the others: %w", p.log.name, ctx.Err())
		}
	}
}

// metricOf finds a metric in what /metrics answers, whatever its labels.
func metricOf(text, name string) (value float64, found bool) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		if _, err := fmt.Sscan(rest[strings.LastIndexByte(strings.TrimSpace(rest), ' ')+1:], &value); err == nil {
			return value, true
		}
	}
	return 0, false
}
