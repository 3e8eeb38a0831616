package postgres

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/store"
)

// In tests the floor rises whenever it may, and nothing that it passes over by
// mistake is found again. No page grows old by itself.
func init() { watchPause, sweepPause, maxFreshAge = 0, time.Hour, time.Hour }

// KnownHead is the newest offset that the log has heard of.
func (l *Log) KnownHead() int64 { return l.head.Offset() }

// IsFresh tells whether a round has brought events that nobody has read.
func (l *Log) IsFresh() bool { return l.fresh.Load() != nil }

// OfferFresh has a round bring so many events, from an offset on, some time ago.
func (l *Log) OfferFresh(epoch string, from, events int64, age time.Duration) {
	p := page{epoch: epoch, read: time.Now().Add(-age)}
	for i := range events {
		p.events = append(p.events, store.Event{Offset: from + i})
	}
	l.fresh.Store(&p)
}

// TakeFresh is what Fetch tries first.
func (l *Log) TakeFresh(after int64, limit store.Limit) []store.Event {
	return l.takeFresh(after, limit)
}

// Setting is what a setting is in a session of readers and writers.
func (l *Log) Setting(ctx context.Context, name string) (value string, err error) {
	err = l.pool.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value)
	return value, err
}
