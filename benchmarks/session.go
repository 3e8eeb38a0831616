package benchmarks

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// patience is how long a run waits for a delivery before it takes the rest for
// lost.
const patience = 30 * time.Second

// lookPause is how long to wait between looks whether something has arrived.
const lookPause = 5 * time.Millisecond

// session is a server that runs with a swarm that watches it, for one
// measurement.
type session struct {
	endpoint *target.Endpoint
	name     string // of the server
	load     swarm.Load
	prefix   string // of topics: of this session only
	swarm    *swarm.Swarm
	arrived  func() int64 // deliveries so far; the swarm's, once it has joined
	progress report.Progress
}

// openSession starts a server, and has a swarm join.
func openSession(ctx context.Context, server target.Server, config swarm.Config, progress report.Progress) (*session, error) {
	s, err := newSession(ctx, server, config.Load, progress)
	if err != nil {
		return nil, err
	}
	if err := s.join(ctx, config); err != nil {
		return nil, errors.Join(err, s.endpoint.Stop())
	}
	return s, nil
}

// newSession starts a server.
func newSession(ctx context.Context, server target.Server, load swarm.Load, progress report.Progress) (*session, error) {
	e, err := startServer(ctx, server, load)
	if err != nil {
		return nil, err
	}
	return &session{endpoint: e, name: server.Name(), load: load, prefix: newPrefix(), progress: progress}, nil
}

func startServer(ctx context.Context, server target.Server, load swarm.Load) (*target.Endpoint, error) {
	if err := load.Validate(); err != nil {
		return nil, err
	}
	if server == nil {
		return nil, errors.New("benchmarks: a scenario without a server")
	}
	return server.Start(ctx)
}

// newPrefix makes topics of a session's own.
func newPrefix() string { return swarm.TopicPrefix + strings.ToLower(rand.Text()[:8]) + ":" }

// join has the swarm join.
func (s *session) join(ctx context.Context, config swarm.Config) (err error) {
	config.URL, config.Prefix = s.endpoint.Sockets, s.prefix
	if config.Dialect == nil {
		config.Dialect = s.endpoint.Dialect
	}
	config.Tell = func(joined int64) { s.progress.Tell("sockets", joined, int64(config.Load.Sockets)) }
	config.Tell(0)
	if s.swarm, err = swarm.Open(ctx, config); err != nil {
		return err
	}
	s.arrived = s.swarm.Arrived
	config.Tell(int64(config.Load.Sockets))
	return nil
}

// await waits for a window, see [swarm.Swarm.Await].
func (s *session) await(ctx context.Context, window *swarm.Window, due int64) (complete bool, err error) {
	return s.swarm.Await(ctx, window, patience, func(arrived int64) {
		s.progress.Tell("deliveries", min(arrived, due), due)
	})
}

// close ends the server, which gives clients what is queued for them, and then
// the swarm.
func (s *session) close() error {
	s.swarm.Ending()
	return errors.Join(s.endpoint.Stop(), s.swarm.Close())
}

// finish closes the session, and sums up. m may be nil: nothing was metered.
func (s *session) finish(scenario string, events int64, m *meter, failed error) (r report.Result, err error) {
	if err := errors.Join(failed, s.close()); err != nil {
		return report.Result{}, err
	}
	tally := s.swarm.Tally()
	r = report.Result{
		Scenario:   scenario,
		Server:     s.name,
		Events:     events,
		Deliveries: tally.Deliveries,
		Check:      tally.Check,
		CutBecause: tally.CutBecause,
		Latency:    tally.Latency,
		Joins:      tally.Joins,
	}
	if m != nil {
		m.report(&r, s.endpoint)
	}
	s.progress.Tell("deliveries", r.Deliveries, r.Deliveries)
	return r, nil
}
