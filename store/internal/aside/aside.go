// Package aside tells of rows of the outbox that were set aside because their
// payloads are too large: each is counted, and many have one line in the log.
package aside

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// pause is how seldom rows are told of while there are ever more of them.
const pause = 10 * time.Second

// Teller counts rows and tells of them. Its methods may be called concurrently.
type Teller struct {
	// Immutable after New.
	logger  *slog.Logger
	counter *metrics.Counter

	mu sync.Mutex
	// Guarded by mu.
	untold      int
	first, last int64 // ids of those
	told        time.Time
}

// New returns a Teller that has nothing to tell. Nil measures nothing.
func New(logger *slog.Logger, set *metrics.Set) *Teller {
	return &Teller{logger: logger, counter: set.Counter(metrics.EventsRejected, metrics.Reason("payload_too_large"))}
}

// Note takes in the ids of rows that were set aside, in ascending order.
func (t *Teller) Note(ids []int64) {
	if len(ids) == 0 {
		return
	}
	t.counter.Add(int64(len(ids)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.untold == 0 {
		t.first = ids[0]
	}
	t.untold += len(ids)
	t.last = ids[len(ids)-1]
}

// Tell tells of the rows that it has not told of, at once or, after others, in a
// while. Call it again and again: it costs nothing while there are none.
func (t *Teller) Tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.untold == 0 {
		return
	}
	now := time.Now()
	if now.Sub(t.told) < pause {
		return
	}
	t.logger.Error("events have payloads larger than --max-payload-bytes allows; they were moved to sluice_rejected",
		"events", t.untold, "first_outbox_id", t.first, "last_outbox_id", t.last)
	t.untold, t.told = 0, now
}
