package benchmarks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Slow compares what many clients of a topic get while one more reads nothing
// with what they get while that one reads as they do: in turns, in many short
// rounds. All clients join in the same way, the slow one among them, for which
// the system holds next to nothing: what it does not read is the server's to
// deal with. Between rounds it reads what it has missed, and must have
// everything too, once and in order.
type Slow struct {
	Base
	// Rounds is how many times each of both is measured.
	Rounds int
	// Events are published in each round, in batches of which so few are on their
	// way at a time that no client but the slow one has too many waiting for it.
	Events int64
}

// Batches of a round, and how many of them may be on their way. When they have
// arrived, slowSingles more are published one by one, for their latency.
const slowBatch, slowInFlight, slowSingles = 250, 3, 25

// DefaultSlow is one client among 200. A round's events are more than the system
// and its mailbox hold for it, so that it ends each of its rounds far behind.
func DefaultSlow() *Slow {
	return &Slow{
		Base: Base{
			Called: "slow", About: "isolation: what a client that reads nothing costs the others of its topic",
			By: target.Append, Load: swarm.Load{Topics: 1, Sockets: 201, Payload: 1024},
		},
		Rounds: 16,
		Events: 3000,
	}
}

// Settings implements [ServerScenario].
func (s *Slow) Settings() Settings {
	return s.settings(nil, map[string]Setter{"events": Number(&s.Events), "rounds": Number(&s.Rounds)})
}

// slowRound is what one round came to.
type slowRound struct {
	perSecond    float64 // deliveries to the others
	perCPUSecond float64 // of the server; 0 where that is unknown
}

// slowHalf is the rounds with the slow client, or those without.
type slowHalf struct {
	rounds []slowRound
	last   *swarm.Latencies // from publishing an event alone until the last of the others has it
}

// Run implements [Scenario]. The result's rates are over all rounds; the figures
// compare.
func (s *Slow) Run(ctx context.Context, progress report.Progress) (r report.Result, err error) {
	if s.Rounds < 1 || s.Events < 1 || s.Sockets < 2 || s.Topics != 1 {
		return r, fmt.Errorf("benchmarks: slow with %d rounds of %d events, %d sockets and %d topics: want 1 or more, 2 or more sockets, and one topic", s.Rounds, s.Events, s.Sockets, s.Topics)
	}
	e, err := startServer(ctx, s.Server, s.Load)
	if err != nil {
		return r, err
	}
	ss := &session{endpoint: e, name: s.Server.Name(), load: s.Load, prefix: newPrefix()}
	config := swarm.Config{Load: s.Load, Apart: 1}
	if phoenix, ok := e.Dialect.(swarm.Phoenix); ok {
		phoenix.After = true // nothing is shed
		config.Dialect = phoenix
	}
	if err := ss.join(ctx, config); err != nil {
		return r, errors.Join(err, e.Stop())
	}
	alone, beside := slowHalf{last: swarm.NewLatencies()}, slowHalf{last: swarm.NewLatencies()}
	m, events, err := s.measure(ctx, ss, &alone, &beside, progress)
	r, err = ss.finish(s.Called, events, m, err)
	r.Params = s.params(report.Param{Name: "rounds", Value: s.Rounds}, report.Param{Name: "events_a_round", Value: s.Events})
	if err == nil {
		compare(&r, alone.rounds, beside.rounds, e.SharesProcess())
		for _, half := range []struct {
			name string
			slowHalf
		}{{"without it", alone}, {"beside it", beside}} {
			l := half.last.Percentiles()
			r.Addf("an event alone to the last, "+half.name, "p50 %.2f ms, p99 %.2f ms (%d samples)", l.P50, l.P99, l.Samples)
		}
	}
	return r, err
}

// measure runs the rounds: first one that does not count, and then both kinds in
// turns, the order of each pair the reverse of the one before.
func (s *Slow) measure(ctx context.Context, ss *session, alone, beside *slowHalf, progress report.Progress) (m *meter, events int64, err error) {
	publisher, err := ss.endpoint.Publisher(ctx, s.By, s.Load, ss.prefix)
	if err != nil {
		return nil, 0, err
	}
	defer publisher.Close()
	f := &feeder{session: ss, to: publisher}
	if err := s.round(ctx, ss, f, false, &slowHalf{last: swarm.NewLatencies()}); err != nil {
		return nil, 0, err
	}
	uncounted := f.published
	m = ss.measure()
	defer m.stop()
	for pair := range s.Rounds {
		for turn := range 2 {
			slow, half := turn != pair%2, alone
			if slow {
				half = beside
			}
			if err := s.round(ctx, ss, f, slow, half); err != nil {
				return m, 0, err
			}
		}
		progress.Tell("pairs of rounds", int64(pair+1), int64(s.Rounds))
	}
	return m, f.published - uncounted, nil
}

// round publishes one round's events, and returns when the slow client has it too.
func (s *Slow) round(ctx context.Context, ss *session, f *feeder, slow bool, half *slowHalf) error {
	last := s.Sockets - 1
	if slow {
		if err := ss.swarm.Pause(last); err != nil {
			return err
		}
	}
	var b slowRound
	f.batch, f.inFlight = slowBatch, slowInFlight
	before, began := target.UsageOf(ss.endpoint.PID).CPU, time.Now()
	if err := f.run(ctx, s.Events, time.Time{}); err != nil {
		return err
	}
	deliveries := float64(s.Events * int64(last))
	b.perSecond = deliveries / time.Since(began).Seconds()
	if used := (target.UsageOf(ss.endpoint.PID).CPU - before).Seconds(); used > 0 {
		b.perCPUSecond = deliveries / used
	}
	half.rounds = append(half.rounds, b)
	f.batch, f.inFlight = 1, 1
	for range slowSingles {
		began := time.Now()
		if err := f.run(ctx, 1, time.Time{}); err != nil {
			return err
		}
		half.last.Record(time.Since(began))
	}
	if slow {
		if err := ss.swarm.Resume(last); err != nil {
			return err
		}
	}
	return s.catchUp(ctx, ss, last, f.published)
}

// catchUp waits until a client has all events, or gets no more of them, which
// the check at the end finds out.
func (s *Slow) catchUp(ctx context.Context, ss *session, client int, events int64) error {
	look := time.NewTicker(lookPause)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		arrived := ss.swarm.Arrivals(client)
		if arrived >= events {
			return nil
		}
		if arrived > seen {
			seen, moved = arrived, time.Now()
		}
		if time.Since(moved) > patience {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// compare tells the ratios of pairs: what the machine did to both drops out.
func compare(r *report.Result, alone, beside []slowRound, shared bool) {
	var bySecond, byCPU []float64
	for i := range alone {
		bySecond = append(bySecond, beside[i].perSecond/alone[i].perSecond)
		if alone[i].perCPUSecond > 0 && beside[i].perCPUSecond > 0 && !shared {
			byCPU = append(byCPU, beside[i].perCPUSecond/alone[i].perCPUSecond)
		}
	}
	if len(byCPU) == len(alone) {
		r.Ratio = report.SpreadOf(byCPU)
		r.Addf("beside it, of without it", "%v deliveries per CPU second", r.Ratio)
	} else {
		r.Ratio = report.SpreadOf(bySecond)
	}
	r.Addf("beside it, of without it", "%v deliveries per second", report.SpreadOf(bySecond))
}
