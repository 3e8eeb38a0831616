package sqlite

import (
	"context"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// countedRows is how many rows of the outbox are counted at most, each time.
const countedRows = 1000

const backlogSQL = `SELECT (SELECT count(*) FROM (SELECT 1 FROM sluice_outbox LIMIT ?)), coalesce((SELECT inserted_at FROM sluice_outbox ORDER BY id LIMIT 1), 0)`

// outbox is how the outbox was last seen, and since when this process empties it.
type outbox struct {
	node string // immutable

	mu sync.Mutex
	// Guarded by mu.
	rows    int64
	oldest  time.Time // when its first row was inserted; zero with no rows
	running time.Time // since when Run runs; zero while it does not
}

// Outbox implements [store.Log]. Who runs the log leads: nobody else has it.
func (l *Log) Outbox() store.Outbox {
	o := &l.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := store.Outbox{Rows: o.rows}
	if o.rows > 0 {
		seen.Age = max(0, time.Since(o.oldest))
	}
	if !o.running.IsZero() {
		seen.Leader = store.Leader{Node: o.node, Since: o.running, Self: true}
	}
	return seen
}

// lead notes since when Run runs; the zero time for that it has ended.
func (o *outbox) lead(since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.running = since
}

// lookAtOutbox notes how the outbox stands. What cannot be read stays as it was seen:
// others tell of that.
func (l *Log) lookAtOutbox(ctx context.Context) {
	var rows, inserted int64
	if err := l.queries.QueryRowContext(ctx, backlogSQL, countedRows).Scan(&rows, &inserted); err != nil {
		return
	}
	o := &l.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rows, o.oldest = rows, time.UnixMicro(inserted)
}

// measure has the log's state be seen.
func (l *Log) measure(set *metrics.Set) {
	l.sequenceTime, l.sequenced = set.Timing(metrics.SequenceTime), set.Counter(metrics.EventsSequenced)
	l.failures = set.Counter(metrics.StageErrors, metrics.Stage("sequence"))
	set.GaugeFunc(metrics.LogHead, l.head.Offset)
	set.GaugeFunc(metrics.OutboxRows, func() int64 { return l.Outbox().Rows })
	set.GaugeFunc(metrics.OutboxAge, func() int64 { return int64(l.Outbox().Age / time.Second) })
	set.GaugeFunc(metrics.Leader, func() int64 {
		if l.Outbox().Leader.Self {
			return 1
		}
		return 0
	})
}
