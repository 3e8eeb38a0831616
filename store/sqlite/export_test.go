package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

// In tests no page grows old by itself, a stall is told soon, and topics leave the
// small list when they have a sixteenth of the events that they have elsewhere. Nobody loses
// patience with another's transaction because the machine has much else to do: see Hurry.
func init() {
	busyTimeout = 15 * time.Minute
	maxHandoffAge, maxStall = time.Hour, 50*time.Millisecond
	maxRecent, minLeave, maxLeave = maxRecent/16, minLeave/16, maxLeave/16
}

// MaxRecent is how many events the small list is to hold.
func MaxRecent() int { return int(maxRecent) }

// LimitPages has the file grow no larger, as on a disk that is full: 0 lifts the limit.
func (l *Log) LimitPages(ctx context.Context, pages int) error {
	if pages == 0 {
		pages = 1 << 30
	}
	return l.borrowWriter(ctx, func(w *writer) error {
		limit, err := w.prepare(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
		if err == nil {
			_, err = w.integer(limit)
		}
		return err
	})
}

// Hurry has writers lose patience with another's transaction soon.
func (l *Log) Hurry(ctx context.Context) error {
	return l.borrowWriter(ctx, func(w *writer) error {
		patience, err := w.prepare(`PRAGMA busy_timeout = 50`)
		if err == nil {
			_, err = w.integer(patience)
		}
		return err
	})
}

// AgeHandoff makes what was appended last too old to be taken.
func (l *Log) AgeHandoff() {
	p := *l.handoff.Load()
	p.made = p.made.Add(-2 * maxHandoffAge)
	l.handoff.Store(&p)
}

// HasHandoff tells whether there are events for a Fetch that need not be read.
func (l *Log) HasHandoff() bool { return l.handoff.Load() != nil }

// WriteRound is one transaction of those that write drafts after the outbox.
func (l *Log) WriteRound(ctx context.Context, drafts []store.Draft) (written bool, err error) {
	return l.writeRound(ctx, &groupcommit.Batch{Drafts: drafts})
}

// KnownHead is the newest offset that the log has heard of.
func (l *Log) KnownHead() int64 { return l.head.Offset() }
