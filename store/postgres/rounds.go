package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/store"
)

// tellPause is how often what keeps events from being sequenced is told, for as
// long as it lasts.
const tellPause = time.Minute

// rounds knows when the last one was committed, by whatever node, and why none is.
// A round moves all that can be moved, which may be nothing.
type rounds struct {
	logger *slog.Logger // immutable

	mu sync.Mutex
	// Guarded by mu.
	committed time.Time // the last one, as far as this node knows
	head      int64     // of the log, when somebody last asked whether rounds are committed
	waiting   time.Time // since when rows have been seen with no round committed; zero while there are none
	failing   time.Time // since when this node's rounds, or its sessions, fail; zero while they do not
	cause     error     // why
	lost      bool      // the session is
	told      time.Time // when that was
}

// succeed notes that a round was committed, or that the log needs none of this
// node. It tells that what was told is over.
func (r *rounds) succeed(committed bool) (outage time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if committed {
		r.committed = now
	}
	if r.failing.IsZero() {
		return 0
	}
	outage = now.Sub(r.failing)
	words := "events are sequenced again"
	if r.lost {
		words = "database is back"
	}
	r.logger.Info(words, "outage", outage.Round(time.Millisecond))
	r.failing, r.cause, r.lost, r.told = time.Time{}, nil, false, time.Time{}
	return outage
}

// fail notes why events are not sequenced, and tells it: at once, when it is
// another reason than before, and once a while.
func (r *rounds) fail(err error, lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	another := lost != r.lost || !lost && code(err) != code(r.cause)
	if r.failing.IsZero() {
		r.failing = now
	}
	r.cause, r.lost = err, lost
	if !another && now.Sub(r.told) < tellPause {
		return
	}
	words := "events are not sequenced; trying until they are"
	if lost {
		words = "database is lost; reconnecting until it is back"
	}
	r.logger.Error(words, "error", err, "for", now.Sub(r.failing).Round(time.Second))
	r.told = now
}

// heard notes that another node has committed a round.
func (r *rounds) heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.committed = time.Now()
}

// reached notes how far the log goes: a node that hears of no round, behind a pooler
// or because the server takes no wake-ups, sees what they do.
func (r *rounds) reached(head int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if head > r.head {
		r.head, r.committed = head, time.Now()
	}
}

// maxQuiet is for how long no round need be committed before this node looks
// whether there is something to move, and maxStall for how long that may lie there.
var (
	maxQuiet = time.Second // tests change them
	maxStall = store.MaxStall
)

// quiet tells whether no round has been committed for a while.
func (r *rounds) quiet() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.committed) > maxQuiet
}

// saw notes whether there are rows to move, and returns for how long there have
// been with no round committed, and why as far as this node knows. Who is refused
// all rounds may be refused to see rows.
func (r *rounds) saw(rows bool) (time.Duration, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case !rows:
		r.waiting = time.Time{}
		if r.failing.IsZero() || r.lost {
			return 0, nil
		}
		return now.Sub(r.failing), r.cause
	case r.waiting.IsZero(), r.waiting.Before(r.committed):
		r.waiting = now
	}
	return now.Sub(r.waiting), r.cause
}

const waitingSQL = `SELECT current_setting('transaction_read_only') = 'on', EXISTS (SELECT FROM sluice_outbox)`

// Sequencing implements [store.Log].
func (l *Log) Sequencing(ctx context.Context) error {
	l.rounds.reached(l.head.Offset())
	if !l.rounds.quiet() {
		l.rounds.saw(false)
		return nil
	}
	var readOnly, rows bool
	err := l.pool.QueryRow(ctx, waitingSQL).Scan(&readOnly, &rows)
	waiting, cause := l.rounds.saw(rows)
	switch {
	case waiting >= maxStall+l.poll: // for so long may a wake-up that was lost go unnoticed
		return &store.StalledError{For: waiting, Err: cause}
	case err != nil:
		return l.failure("look for events that wait", err, reads)
	case readOnly:
		return l.server.unavailable("write", errReadOnly)
	}
	return nil
}

var errReadOnly = errors.New("the server takes no writes: it is a standby, or set to be read-only")
