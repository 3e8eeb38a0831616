package target

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Child is a server that is started as a process of its own, and ended after the
// run. It takes POST /api/broadcast as Sluice does, and answers GET /readyz with
// 200 once it is ready, both on its admin listener.
type Child struct {
	Called  string // what results call it
	Program string
	// Args are its arguments; {listen} and {admin} in them stand for the
	// addresses, host:port, that its two listeners are to have.
	Args    []string
	Dialect swarm.Dialect
	// Pinned runs it on one core of its own, and this process on the others,
	// where there are some.
	Pinned bool
	// Log is told what it logs. Nil: nobody asks.
	Log io.Writer
}

// Name implements [Server].
func (c *Child) Name() string { return c.Called }

// Start implements [Server].
func (c *Child) Start(ctx context.Context) (*Endpoint, error) {
	p, err := NewProcess(c.Program, c.Called, c.Log, c.Args...)
	if err != nil {
		return nil, err
	}
	unpin := func() error { return nil }
	if c.Pinned {
		unpin, err = pinned(p.Start)
	} else {
		err = p.Start()
	}
	if err != nil {
		return nil, errors.Join(err, p.Kill(), p.Release())
	}
	if err := p.Ready(ctx); err != nil {
		return nil, errors.Join(err, p.Kill(), p.Release(), unpin())
	}
	return &Endpoint{
		Sockets: "ws://" + p.Public,
		Admin:   "http://" + p.Admin,
		PID:     p.command.Process.Pid,
		Dialect: c.Dialect,
		stop: func() error {
			return errors.Join(p.Stop(), p.Release(), unpin())
		},
	}, nil
}

// Sluice is `sluice serve` as a process of its own, on a scratch of its own.
type Sluice struct {
	// Program is the sluice binary.
	Program string
	// DatabaseURL is a Postgres. Empty: the embedded store.
	DatabaseURL string
	// Flags are more flags of serve.
	Flags []string
	// After has clients join with {"after": null}.
	After  bool
	Pinned bool      // as in Child
	Log    io.Writer // as in Child
}

// Name implements [Server].
func (s *Sluice) Name() string { return "sluice" }

// Start implements [Server].
func (s *Sluice) Start(ctx context.Context) (*Endpoint, error) {
	config := sluice.Config{DatabaseURL: s.DatabaseURL}
	scratch, err := NewScratch(ctx, &config)
	if err != nil {
		return nil, err
	}
	child := Child{
		Called:  "sluice",
		Program: s.Program,
		Args: slices.Concat([]string{
			"serve", "--node", "bench", "--listen", "{listen}", "--admin-listen", "{admin}", "--log-format", "json",
			"--max-channels", "100000",
		}, s.Flags),
		Dialect: swarm.Phoenix{After: s.After},
		Pinned:  s.Pinned,
		Log:     s.Log,
	}
	if config.DatabaseURL != "" {
		child.Args = append(child.Args, "--database-url", config.DatabaseURL)
	} else {
		child.Args = append(child.Args, "--data-dir", config.DataDir)
	}
	return child.StartOn(ctx, scratch, config.DatabaseURL)
}

// StartOn starts it on a scratch that is removed after it, with that database.
func (c *Child) StartOn(ctx context.Context, on Scratch, database string) (*Endpoint, error) {
	e, err := c.Start(ctx)
	if err != nil {
		return nil, errors.Join(err, on.Remove())
	}
	e.Database = database
	stop := e.stop
	e.stop = func() error { return errors.Join(stop(), on.Remove()) }
	return e, nil
}
