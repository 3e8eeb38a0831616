package relay

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Fetch implements [store.Log].
func (l *Log) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	if after < 0 || limit.Events < 1 || limit.Bytes < 0 {
		return l.source.Fetch(ctx, after, limit) // which says what is wrong
	}
	l.publisher.reading(after)
	events := l.fromPages(after, limit)
	if len(events) == 0 && l.source.KnownHead() > after {
		if err := l.await(ctx, after); err != nil {
			return nil, err
		}
		events = l.fromPages(after, limit)
	}
	if len(events) > 0 {
		return events, nil
	}
	return l.publisher.read(ctx, after, limit)
}

// fromPages returns events that have come in pages, or are about to be published in
// some; none if the next one is in none.
func (l *Log) fromPages(after int64, limit store.Limit) []store.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted || l.epoch == "" || limit.Epoch != "" && limit.Epoch != l.epoch || after < l.barred {
		return nil
	}
	events := l.window.take(after, limit)
	if len(events) == 0 {
		events = l.publisher.take(l.epoch, after, limit)
	}
	if len(events) > 0 {
		l.counted.hits.Add(1)
	}
	return events
}

// Wait implements [store.Log]. While pages come, the database is asked less often.
func (l *Log) Wait(ctx context.Context, after int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	holds, atMost := !l.doubted && l.window.holds(after), time.Duration(0)
	if l.isHealthy() {
		atMost = healthyPoll
	}
	l.mu.Unlock()
	if holds {
		return nil
	}
	if err := l.source.WaitFor(ctx, after, atMost); err != nil {
		return err
	}
	if l.source.KnownHead() <= after {
		return nil // nobody has told of anything: the database is to be asked
	}
	return l.await(ctx, after)
}

// await waits, a moment, for the page that brings the event after an offset, which is
// known to be there: all nodes hear of it at once, and would read it at once. It
// waits once for each offset, and not where the page is known not to come.
func (l *Log) await(ctx context.Context, after int64) error {
	var grace <-chan time.Time
	for {
		changed := l.coming(after)
		if changed == nil {
			return ctx.Err()
		}
		if grace == nil {
			timer := time.NewTimer(l.config.Grace)
			defer timer.Stop()
			grace = timer.C
		}
		select {
		case <-changed:
		case <-grace:
			l.graced.Store(after)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// coming returns what is closed when pages have come, or nil if none need be waited for.
func (l *Log) coming(after int64) <-chan struct{} {
	if l.graced.Load() == after || l.publisher.hasMoved(after) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isHealthy() || l.window.holds(after) || after < l.passed {
		return nil
	}
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}
