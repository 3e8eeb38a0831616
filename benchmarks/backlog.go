package benchmarks

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Backlog delivers events that appear all at once, as fast as it goes: what
// the line carries when it is never short of work. On Postgres they appear in
// one commit, and the measurement begins there; on the embedded store they are
// appended in a few requests, in which the measurement begins.
type Backlog struct {
	Base
	Events int64
	// Sequenced events appear in the log; others in the outbox, from where the
	// sequencer moves them meanwhile. The embedded store knows no difference.
	Sequenced bool
}

// DefaultBacklog is 200,000 events for 100 sockets, each with a topic of its own.
func DefaultBacklog() *Backlog {
	return &Backlog{
		Base: Base{
			Called: "backlog", About: "throughput: rows that lie in the outbox, delivered to sockets",
			By: target.Insert, Load: swarm.Load{Topics: 100, Sockets: 100, Payload: 128},
		},
		Events: 200_000,
	}
}

// DefaultLog is the same, of events that the sequencer has moved to the log.
func DefaultLog() *Backlog {
	b := DefaultBacklog()
	b.Called, b.About, b.Sequenced = "log", "throughput: events that lie in the log, delivered to sockets", true
	return b
}

// Settings implements [ServerScenario].
func (b *Backlog) Settings() Settings {
	return b.settings(nil, map[string]Setter{"events": Number(&b.Events)})
}

// Run implements [Scenario].
func (b *Backlog) Run(ctx context.Context, progress report.Progress) (report.Result, error) {
	if b.Events < 1 {
		return report.Result{}, fmt.Errorf("benchmarks: a backlog of %d events: want 1 or more", b.Events)
	}
	s, err := openSession(ctx, b.Server, swarm.Config{Load: b.Load}, progress)
	if err != nil {
		return report.Result{}, err
	}
	m, err := b.measure(ctx, s)
	r, err := s.finish(b.Called, b.Events, m, err)
	r.Params = b.params(report.Param{Name: "sequenced", Value: b.Sequenced})
	return r, err
}

// measure inserts the backlog, and waits until it has arrived.
func (b *Backlog) measure(ctx context.Context, s *session) (m *meter, err error) {
	window := s.swarm.Announce(b.Events)
	if s.endpoint.Database == "" {
		m = s.measure()
		err = b.append(ctx, s)
	} else {
		m, err = b.insert(ctx, s)
	}
	if m == nil {
		return nil, err
	}
	if err == nil {
		_, err = s.await(ctx, window, b.Deliveries(b.Events))
	}
	m.stop()
	return m, err
}

// insert puts all rows there, and begins to measure when they appear.
func (b *Backlog) insert(ctx context.Context, s *session) (m *meter, err error) {
	rows, err := target.NewInserter(ctx, s.endpoint.Database, b.Load, s.prefix)
	if err != nil {
		return nil, err
	}
	s.progress.Tell("rows", 0, b.Events)
	err = rows.Backlog(ctx, b.Events, b.Sequenced, func() {
		s.progress.Tell("rows", b.Events, b.Events)
		m = s.measure()
	})
	return m, errors.Join(err, rows.Close())
}

// appended is how many events go into one request.
const appended = 10_000

// append puts events there through the API.
func (b *Backlog) append(ctx context.Context, s *session) (err error) {
	poster, err := s.endpoint.Publisher(ctx, target.Append, b.Load, s.prefix)
	if err != nil {
		return err
	}
	var events []swarm.Event
	for i := int64(0); i < b.Events && err == nil; {
		events = events[:0]
		for ; i < b.Events && len(events) < appended; i++ {
			events = append(events, b.Event(i, 0))
		}
		err = poster.Publish(ctx, events)
		s.progress.Tell("rows", i, b.Events)
	}
	return errors.Join(err, poster.Close())
}
