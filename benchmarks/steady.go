package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice"
)

// Steady inserts events evenly, each in a transaction of its own, and takes
// the time from the beginning of an insert until a client has the event.
type Steady struct {
	Service sluice.Config // but for its listeners, mailboxes and place
	Load
	// Rate is how many events are inserted per second, as far as the store
	// keeps up: the result's own rate tells.
	Rate float64
	// Duration is how long events are inserted, and WarmUp how long at its
	// beginning their latencies are not recorded.
	Duration, WarmUp time.Duration
	// Uneven leaves random gaps of the same mean, as independent writers do.
	Uneven bool
	// Unwoken has the commits wake nobody, as behind a transaction pooler: the
	// sequencer finds rows by polling. It takes Postgres.
	Unwoken bool
}

// DefaultSteady is 500 events a second for a hundred sockets, each with a
// topic of its own.
func DefaultSteady() *Steady {
	return &Steady{
		Service:  sluice.DefaultConfig(),
		Load:     Load{Topics: 100, Sockets: 100, Payload: 128},
		Rate:     500,
		Duration: 10 * time.Second,
		WarmUp:   time.Second,
	}
}

// Name implements [Scenario].
func (*Steady) Name() string { return "steady" }

// Measures implements [Scenario].
func (*Steady) Measures() string {
	return "latency: rows inserted one by one at an even rate, until a client has them"
}

// Run implements [Scenario].
func (s *Steady) Run(ctx context.Context, progress Progress) (Result, error) {
	events := int64(math.Round(s.Rate * s.Duration.Seconds()))
	switch {
	case s.Rate <= 0 || events < 1 || s.WarmUp >= s.Duration:
		return Result{}, fmt.Errorf("benchmarks: %v events/s for %v with %v to warm up: want one event at least after that", s.Rate, s.Duration, s.WarmUp)
	case s.Unwoken && s.Service.DatabaseURL == "":
		return Result{}, errors.New("benchmarks: Unwoken takes Postgres")
	}
	a := &audience{
		load:    s.Load,
		events:  events,
		latency: NewLatencies(),
		warmUp:  int64(s.Rate * s.WarmUp.Seconds()),
	}
	r, err := measure(ctx, s.Service, a, progress, func(ctx context.Context, n *node) error {
		if s.Unwoken {
			const disable = `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`
			if err := execute(ctx, n.config.DatabaseURL, disable); err != nil {
				return fmt.Errorf("have commits wake nobody: %w", err)
			}
		}
		return s.insert(ctx, n, s.schedule(events), progress)
	})
	r.Scenario = s.Name()
	r.Params = append(s.params(), Param{"rate", s.Rate}, Param{"uneven", s.Uneven}, Param{"unwoken", s.Unwoken})
	return r, err
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

// insert inserts all events over a few connections. A topic's events go over
// one of them, so that they are committed in their order.
func (s *Steady) insert(ctx context.Context, n *node, schedule []time.Duration, progress Progress) error {
	group, ctx := errgroup.WithContext(ctx)
	var inserted atomic.Int64
	connections := min(maxInserters, s.Topics)
	begin := time.Now()
	for c := range connections {
		group.Go(func() error {
			inserter, err := n.newInserter(ctx)
			if err != nil {
				return err
			}
			err = s.pace(ctx, inserter, begin, schedule, c, connections, &inserted)
			return errors.Join(err, inserter.close())
		})
	}
	inserting := make(chan struct{}) // closed below, when all have ended
	telling := make(chan struct{})   // closed by the goroutine that tells
	go func() {
		defer close(telling)
		s.tell(&inserted, int64(len(schedule)), progress, inserting)
	}()
	err := group.Wait()
	close(inserting)
	<-telling
	return err
}

// pace inserts the events of one connection's topics, each when it is due.
func (s *Steady) pace(ctx context.Context, to inserter, begin time.Time, schedule []time.Duration, connection, connections int, inserted *atomic.Int64) error {
	due := time.NewTimer(0)
	defer due.Stop()
	var payload []byte
	for i, at := range schedule {
		topic := i % s.Topics
		if topic%connections != connection {
			continue
		}
		due.Reset(time.Until(begin.Add(at)))
		select {
		case <-due.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		payload = s.appendPayload(payload[:0], int64(i/s.Topics), time.Now())
		if err := to.one(ctx, topicName(topic), payload); err != nil {
			return err
		}
		inserted.Add(1)
	}
	return nil
}

// tell reports progress until the inserting ends.
func (s *Steady) tell(inserted *atomic.Int64, events int64, progress Progress, inserting <-chan struct{}) {
	look := time.NewTicker(glance)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			progress.tell("rows", inserted.Load(), events)
		case <-inserting:
			progress.tell("rows", inserted.Load(), events)
			return
		}
	}
}
