package benchmarks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// connecting bounds the handshakes under way at the same time.
	connecting = 64
	// glance is how often an audience looks whether anything arrives.
	glance = 200 * time.Millisecond
	// patience is how long an audience waits for a delivery before it takes
	// the rest for lost.
	patience = 15 * time.Second
)

// audience is all sockets of a run.
type audience struct {
	// Immutable after newAudience.
	load    Load
	events  int64
	latency *Latencies // nil for nobody asks
	warmUp  int64      // so many events at the beginning are not recorded in latency

	subscribers []*subscriber  // made by gather
	reading     sync.WaitGroup // their goroutines
}

// gather connects and joins all sockets, which then read until their
// connections end.
func (a *audience) gather(ctx context.Context, url string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(connecting)
	for i := range a.load.Sockets {
		s := &subscriber{load: a.load, topics: a.load.watched(i), latency: a.latency, warmUp: a.warmUp}
		for _, topic := range s.topics {
			s.total = append(s.total, a.load.share(topic, a.events))
		}
		a.subscribers = append(a.subscribers, s)
		group.Go(func() error { return s.subscribe(ctx, url) })
	}
	if err := group.Wait(); err != nil {
		a.leave()
		return fmt.Errorf("join %d sockets: %w", a.load.Sockets, err)
	}
	for _, s := range a.subscribers {
		a.reading.Go(s.read)
	}
	return nil
}

// await returns when each socket has all that it is due or has ended, or when
// nothing has arrived for long. An error is ctx's.
func (a *audience) await(ctx context.Context, progress Progress) error {
	due := a.load.deliveries(a.events)
	look := time.NewTicker(glance)
	defer look.Stop()
	seen, moved := int64(0), time.Now()
	for _, s := range a.subscribers {
		for waiting := true; waiting; {
			select {
			case <-s.done:
				waiting = false
			case <-ctx.Done():
				return ctx.Err()
			case now := <-look.C:
				if arrived := a.arrived(); arrived > seen {
					seen, moved = arrived, now
				}
				progress.tell("deliveries", seen, due)
				if now.Sub(moved) > patience {
					return nil
				}
			}
		}
	}
	progress.tell("deliveries", a.arrived(), due)
	return nil
}

func (a *audience) arrived() (n int64) {
	for _, s := range a.subscribers {
		n += s.arrived.Load()
	}
	return n
}

// leave closes what connections there still are, and waits for the readers.
func (a *audience) leave() {
	for _, s := range a.subscribers {
		if s.conn != nil {
			_ = s.conn.Close() // the reader may have done so
		}
	}
	a.reading.Wait()
}

// report sums up. The clock runs from when all had been inserted, or from the
// first delivery if that was before, to the last one. The readers must have
// ended.
func (a *audience) report(inserted time.Time) (r Result) {
	r.Events = a.events
	first, last := inserted, inserted
	for _, s := range a.subscribers {
		check, arrived := s.check()
		r.Check = r.plus(check)
		r.Deliveries += arrived
		if check.Cut > 0 && r.CutBecause == "" && s.cause != nil {
			r.CutBecause = s.cause.Error()
		}
		if !s.first.IsZero() && s.first.Before(first) {
			first = s.first
		}
		if s.last.After(last) {
			last = s.last
		}
	}
	r.Seconds = last.Sub(first).Seconds()
	if r.Seconds > 0 {
		r.DeliveriesPerSecond = float64(r.Deliveries) / r.Seconds
		if due := a.load.deliveries(a.events); due > 0 {
			r.EventsPerSecond = r.DeliveriesPerSecond * float64(r.Events) / float64(due)
		}
	}
	if a.latency != nil {
		r.Latency = a.latency.Percentiles()
	}
	return r
}
