package benchmarks

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Bulk publishes batches, each as soon as few enough are on their way: what the
// server carries when it is never short of work, and clients never have to wait
// for room. With a batch of one event, and one on its way, it is a closed loop.
type Bulk struct {
	Base
	// Events are published at most, and no more once For is over.
	Events int64
	For    time.Duration
	// Batch is how many events are published at a time, and InFlight how many
	// batches may be on their way: published, but not yet with all clients; fewer
	// where they would not fit into a channel's mailbox.
	Batch, InFlight int
	// WarmUp is how many events come before the measurement.
	WarmUp int64
}

// DefaultFanout is one topic for 1,000 sockets.
func DefaultFanout() *Bulk {
	return &Bulk{
		Base:   Base{Called: "fanout", About: "throughput: one topic's events in bulk to all its sockets", By: target.Broadcast, Load: swarm.Load{Topics: 1, Sockets: 1000, Payload: 128}},
		Events: 1 << 40, For: 5 * time.Second, Batch: 200, InFlight: 3, WarmUp: 600,
	}
}

// DefaultSingle is the same, one event at a time.
func DefaultSingle() *Bulk {
	b := DefaultFanout()
	b.Called, b.About = "single", "throughput: one topic's events one at a time, each when all sockets have the one before"
	b.Batch, b.InFlight, b.WarmUp = 1, 1, 20
	return b
}

// DefaultTopics is 1,000 topics for a socket each.
func DefaultTopics() *Bulk {
	return &Bulk{
		Base:   Base{Called: "topics", About: "throughput: events in bulk over very many topics, each with a socket of its own", By: target.Broadcast, Load: swarm.Load{Topics: 1000, Sockets: 1000, Payload: 128}},
		Events: 1 << 40, For: 5 * time.Second, Batch: 2000, InFlight: 3, WarmUp: 6000,
	}
}

// DefaultChannels is 100 topics, all of which each of 100 sockets watches.
func DefaultChannels() *Bulk {
	return &Bulk{
		Base:   Base{Called: "channels", About: "throughput: events in bulk over 100 topics, to sockets that have joined all of them", By: target.Broadcast, Load: swarm.Load{Topics: 100, Sockets: 100, Channels: 100, Payload: 128}},
		Events: 1 << 40, For: 5 * time.Second, Batch: 200, InFlight: 3, WarmUp: 600,
	}
}

// Settings implements [ServerScenario].
func (b *Bulk) Settings() Settings {
	return b.settings(&b.For, map[string]Setter{"events": Number(&b.Events), "batch": Number(&b.Batch), "window": Number(&b.InFlight)})
}

// Run implements [Scenario].
func (b *Bulk) Run(ctx context.Context, progress report.Progress) (report.Result, error) {
	if b.Events < 1 || b.For <= 0 || b.Batch < 1 || b.InFlight < 1 {
		return report.Result{}, fmt.Errorf("benchmarks: %s of %d events in %v, %d at a time, %d batches on their way: want 1 or more of each", b.Called, b.Events, b.For, b.Batch, b.InFlight)
	}
	s, err := openSession(ctx, b.Server, swarm.Config{Load: b.Load}, progress)
	if err != nil {
		return report.Result{}, err
	}
	m, events, err := b.publish(ctx, s)
	r, err := s.finish(b.Called, events, m, err)
	r.Params = b.params(report.Param{Name: "batch", Value: b.Batch}, report.Param{Name: "window", Value: b.inFlight()})
	return r, err
}

// mailboxRoom is how many events of a topic may be on their way: as many as fit
// into a mailbox of the default size.
const mailboxRoom = 1000

func (b *Bulk) inFlight() int { return max(1, min(b.InFlight, mailboxRoom*b.Topics/b.Batch)) }

// publish publishes until the time is over or all are published, and waits for
// what is on its way. events are those of the measurement.
func (b *Bulk) publish(ctx context.Context, s *session) (m *meter, events int64, err error) {
	publisher, err := s.endpoint.Publisher(ctx, b.By, b.Load, s.prefix)
	if err != nil {
		return nil, 0, err
	}
	defer publisher.Close()
	f := &feeder{session: s, to: publisher, batch: b.Batch, inFlight: b.inFlight()}
	if err := f.run(ctx, b.WarmUp, time.Time{}); err != nil {
		return nil, 0, err
	}
	m = s.measure()
	before := f.published
	err = f.run(ctx, b.Events, m.began.Add(b.For))
	m.stop()
	return m, f.published - before, err
}

// feeder publishes in batches, with so many on their way at most.
type feeder struct {
	session         *session
	to              swarm.Publisher
	batch, inFlight int

	published int64
	events    []swarm.Event // reused
	pending   []*swarm.Window
}

// run publishes so many events, none after the time given unless that is zero,
// and waits until all have arrived. What never arrives ends it early.
func (f *feeder) run(ctx context.Context, events int64, until time.Time) error {
	last := f.published + events
	for f.published < last && (until.IsZero() || time.Now().Before(until)) {
		n := min(int64(f.batch), last-f.published)
		f.events = f.events[:0]
		for i := range n {
			f.events = append(f.events, f.session.load.Event(f.published+i, 0))
		}
		f.pending = append(f.pending, f.session.swarm.Announce(n))
		f.published += n
		if err := f.to.Publish(ctx, f.events); err != nil {
			return err
		}
		for len(f.pending) >= f.inFlight {
			if complete, err := f.oldest(ctx); err != nil || !complete {
				return err
			}
		}
	}
	for len(f.pending) > 0 {
		if complete, err := f.oldest(ctx); err != nil || !complete {
			return err
		}
	}
	return nil
}

// oldest waits for the oldest batch on its way.
func (f *feeder) oldest(ctx context.Context) (complete bool, err error) {
	complete, err = f.session.await(ctx, f.pending[0], f.session.load.Deliveries(f.published))
	f.pending = f.pending[1:]
	return complete, err
}
