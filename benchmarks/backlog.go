package benchmarks

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice"
)

// Backlog delivers events that appear all at once, as fast as it goes: what
// the line carries when it is never short of work.
type Backlog struct {
	Service sluice.Config // but for its listeners, mailboxes and place
	Load
	Events int64
	// Sequenced events appear in the log; others in the outbox, from where the
	// sequencer moves them meanwhile. The embedded store knows no difference.
	Sequenced bool
}

// DefaultBacklog is a hundred thousand events for a hundred sockets, each
// with a topic of its own.
func DefaultBacklog() *Backlog {
	return &Backlog{
		Service: sluice.DefaultConfig(),
		Load:    Load{Topics: 100, Sockets: 100, Payload: 128},
		Events:  100_000,
	}
}

// Name implements [Scenario].
func (*Backlog) Name() string { return "backlog" }

// Measures implements [Scenario].
func (*Backlog) Measures() string {
	return "throughput: events that wait in the database, delivered to sockets"
}

// Run implements [Scenario].
func (b *Backlog) Run(ctx context.Context, progress Progress) (Result, error) {
	if b.Events < 1 {
		return Result{}, fmt.Errorf("benchmarks: a backlog of %d events: want 1 or more", b.Events)
	}
	a := &audience{load: b.Load, events: b.Events}
	r, err := measure(ctx, b.Service, a, progress, func(ctx context.Context, n *node) error {
		progress.tell("rows", 0, b.Events)
		inserter, err := n.newInserter(ctx)
		if err != nil {
			return err
		}
		err = inserter.backlog(ctx, b.Load, b.Events, b.Sequenced)
		progress.tell("rows", b.Events, b.Events)
		return errors.Join(err, inserter.close())
	})
	r.Scenario = b.Name()
	r.Params = append(b.params(), Param{"sequenced", b.Sequenced})
	return r, err
}
