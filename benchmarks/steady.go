package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Steady publishes events evenly, one at a time, and takes the time from the
// beginning of publishing until a client has the event.
type Steady struct {
	Base
	// Rate is how many events are published per second, as far as the server
	// keeps up: the result's own rate tells.
	Rate float64
	// For is how long events are published, and WarmUp how long at its beginning
	// nothing is measured: a fifth of it at most.
	For, WarmUp time.Duration
	// Uneven leaves random gaps of the same mean, as independent writers do.
	Uneven bool
	// Unwoken has the commits wake nobody, as behind a transaction pooler: the
	// sequencer finds rows by polling. It takes Postgres.
	Unwoken bool
}

// DefaultSteady is 20 events a second for 1,000 sockets.
func DefaultSteady() *Steady {
	return &Steady{
		Base: Base{Called: "steady", About: "latency: events at an even rate, one topic to all its sockets", By: target.Broadcast, Load: swarm.Load{Topics: 1, Sockets: 1000, Payload: 128}},
		Rate: 20, For: 8 * time.Second, WarmUp: time.Second,
	}
}

// DefaultRow is 200 rows a second for one socket.
func DefaultRow() *Steady {
	return &Steady{
		Base: Base{Called: "row", About: "latency: rows inserted one by one, from the insert until a socket has them", By: target.Insert, Load: swarm.Load{Topics: 1, Sockets: 1, Payload: 128}},
		Rate: 200, For: 8 * time.Second, WarmUp: time.Second,
	}
}

// Settings implements [ServerScenario].
func (s *Steady) Settings() Settings {
	return s.settings(&s.For, map[string]Setter{"rate": Number(&s.Rate)})
}

// Run implements [Scenario].
func (s *Steady) Run(ctx context.Context, progress report.Progress) (report.Result, error) {
	if err := s.validate(); err != nil {
		return report.Result{}, err
	}
	session, err := openSession(ctx, s.Server, swarm.Config{Load: s.Load}, progress)
	if err != nil {
		return report.Result{}, err
	}
	m, events, err := s.publish(ctx, session)
	r, err := session.finish(s.Called, events, m, err)
	r.Params = s.params(report.Param{Name: "rate", Value: s.Rate})
	if s.Uneven || s.Unwoken {
		r.Params = append(r.Params, report.Param{Name: "uneven", Value: s.Uneven}, report.Param{Name: "unwoken", Value: s.Unwoken})
	}
	return r, err
}

func (s *Steady) validate() error {
	if all, warmUp := s.events(); s.Rate <= 0 || s.WarmUp < 0 || all-warmUp < 1 {
		return fmt.Errorf("benchmarks: %v events/s for %v: want one event at least", s.Rate, s.For)
	}
	return nil
}

// events is how many there are, and how many of them come to warm up.
func (s *Steady) events() (all, warmUp int64) {
	in := func(d time.Duration) int64 { return int64(math.Round(s.Rate * d.Seconds())) }
	const part = 5
	return in(s.For), in(min(s.WarmUp, s.For/part))
}

// publish publishes all events, and waits until they have arrived. Those of the
// measurement begin once all before them have: what is measured is theirs alone.
func (s *Steady) publish(ctx context.Context, session *session) (m *meter, _ int64, err error) {
	if s.Unwoken {
		const disable = `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`
		if session.endpoint.Database == "" {
			return nil, 0, errors.New("benchmarks: Unwoken takes Postgres")
		}
		if err := target.Execute(ctx, session.endpoint.Database, disable); err != nil {
			return nil, 0, fmt.Errorf("have commits wake nobody: %w", err)
		}
	}
	events, warmUp := s.events()
	warm, measured := session.swarm.Announce(warmUp), session.swarm.Announce(events-warmUp)
	measuring := make(chan struct{})
	group, grouped := errgroup.WithContext(ctx)
	group.Go(func() error {
		return s.pace(grouped, session, s.schedule(events), warmUp, func() (time.Time, error) {
			select {
			case <-measuring:
				return m.began, nil
			case <-grouped.Done():
				return time.Time{}, grouped.Err()
			}
		})
	})
	group.Go(func() error {
		if _, err := session.await(grouped, warm, s.Deliveries(events)); err != nil {
			return err
		}
		m = session.measure()
		close(measuring)
		_, err := session.await(grouped, measured, s.Deliveries(events))
		m.stop()
		return err
	})
	err = group.Wait()
	return m, events - warmUp, err
}

// schedule says when each event is due, from the beginning.
func (s *Steady) schedule(events int64) []time.Duration {
	random := rand.New(rand.NewPCG(1, 1)) // the same gaps in every run
	mean := float64(time.Second) / s.Rate
	due := make([]time.Duration, events)
	at := 0.0
	for i := range due {
		due[i] = time.Duration(at)
		if s.Uneven {
			at += mean * random.ExpFloat64()
		} else {
			at = mean * float64(i+1)
		}
	}
	return due
}

// maxPublishers bounds the connections that publish at the same time.
const maxPublishers = 8

// pace publishes all events over a few connections. A topic's events go over
// one of them, so that they are published in their order. Each connection calls
// measured before its first event that is no warm-up: those are due from the
// time that it returns on.
func (s *Steady) pace(ctx context.Context, session *session, schedule []time.Duration, warmUp int64, measured func() (time.Time, error)) error {
	group, ctx := errgroup.WithContext(ctx)
	connections := min(maxPublishers, s.Topics)
	begin := time.Now()
	for c := range connections {
		group.Go(func() error {
			publisher, err := session.endpoint.Publisher(ctx, s.By, s.Load, session.prefix)
			if err != nil {
				return err
			}
			var mine []int64
			for i := range schedule {
				if i%s.Topics%connections == c {
					mine = append(mine, int64(i))
				}
			}
			return errors.Join(s.paceOne(ctx, publisher, begin, schedule, mine, warmUp, measured), publisher.Close())
		})
	}
	return group.Wait()
}

// paceOne publishes some of the events, each when it is due.
func (s *Steady) paceOne(ctx context.Context, to swarm.Publisher, begin time.Time, schedule []time.Duration, mine []int64, warmUp int64, measured func() (time.Time, error)) error {
	due := time.NewTimer(0)
	defer due.Stop()
	var one [1]swarm.Event
	warm := true
	for _, i := range mine {
		if warm && i >= warmUp {
			began, err := measured()
			if err != nil {
				return err
			}
			warm, begin = false, began.Add(-schedule[warmUp])
		}
		due.Reset(time.Until(begin.Add(schedule[i])))
		select {
		case <-due.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		var at int64
		if i >= warmUp {
			at = time.Now().UnixNano()
		}
		one[0] = s.Event(i, at)
		if err := to.Publish(ctx, one[:]); err != nil {
			return err
		}
	}
	return nil
}
