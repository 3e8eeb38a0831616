package benchmarks

import (
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Idle has very many sockets join, and do nothing: what each costs the server in
// memory. At the end each topic has one event, which all its sockets must get.
type Idle struct {
	Base
	// For is how long the sockets are left alone before memory is measured.
	For time.Duration
}

// DefaultIdle is 18,000 sockets of 100 topics.
func DefaultIdle() *Idle {
	return &Idle{
		Base: Base{Called: "idle", About: "memory: what a socket costs that has joined and waits", By: target.Broadcast, Load: swarm.Load{Topics: 100, Sockets: 18_000, Payload: 128}},
		For:  5 * time.Second,
	}
}

// Settings implements [ServerScenario].
func (i *Idle) Settings() Settings {
	return i.settings(&i.For, nil)
}

// Run implements [Scenario].
func (i *Idle) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	s, err := newSession(ctx, i.Server, i.Load, progress)
	if err != nil {
		return r, err
	}
	before := target.UsageOf(s.endpoint.PID)
	if err := s.join(ctx, swarm.Config{Load: i.Load}); err != nil {
		return r, errors.Join(err, s.endpoint.Stop())
	}
	after, goroutines, err := i.settle(ctx, s)
	if err == nil {
		err = i.wake(ctx, s)
	}
	r, err = s.finish(i.Called, int64(i.Topics), nil, err)
	r.Params = i.params(report.Param{Name: "for", Value: i.For.String()})
	if err != nil || after.RSS == 0 {
		return r, err
	}
	r.BytesPerSocket = float64(after.RSS-before.RSS) / float64(i.Sockets)
	r.Addf("memory per socket", "%.2f KB (%.1f MB without sockets, %.1f MB with them; all by the sockets: %.2f KB; at most, while joining: %.1f MB)",
		r.BytesPerSocket/1000, mega(before.RSS), mega(after.RSS), float64(after.RSS)/float64(i.Sockets)/1000, mega(after.Peak))
	if goroutines > 0 {
		r.Addf("goroutines", "%d", goroutines)
	}
	return r, nil
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// settle waits, and then measures.
func (i *Idle) settle(ctx context.Context, s *session) (u target.Usage, goroutines int64, err error) {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return u, 0, ctx.Err()
		case now := <-tick.C:
			waited := now.Sub(began)
			s.progress.Tell("seconds at rest", int64(min(waited, i.For)/time.Second), int64(i.For/time.Second))
			if waited >= i.For {
				return target.UsageOf(s.endpoint.PID), s.endpoint.Goroutines(ctx), nil
			}
		}
	}
}

// glance is how often a wait is looked at.
const glance = 200 * time.Millisecond

// wake publishes an event for each topic.
func (i *Idle) wake(ctx context.Context, s *session) error {
	publisher, err := s.endpoint.Publisher(ctx, i.By, i.Load, s.prefix)
	if err != nil {
		return err
	}
	f := &feeder{session: s, to: publisher, batch: i.Topics, inFlight: 1}
	return errors.Join(f.run(ctx, int64(i.Topics), time.Time{}), publisher.Close())
}
