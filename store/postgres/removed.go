package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

// mendPause is how often to look whether somebody has removed rows from the log. What
// is removed counts as trimmed at once; this is for the epoch, and the word.
var mendPause = time.Second // tests change it

// mendWhileLeading looks, once this session leads, until ctx ends: one node begins
// epochs, and only on the primary.
func (s *session) mendWhileLeading(ctx context.Context) {
	select {
	case <-s.leading:
	case <-ctx.Done():
		return
	}
	due := time.NewTicker(mendPause)
	defer due.Stop()
	failing := false
	for looked := (time.Time{}); ; {
		var err error
		if now := time.Now(); !s.log.wakeUps.atRest() || now.Sub(looked) >= mendRest {
			looked, err = now, s.log.mend(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.log.failures.Add(1)
			s.log.logger.Error("the log cannot be looked through for rows that were removed; trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

func (l *Log) mend(ctx context.Context) error {
	var begun *string
	if err := l.pool.QueryRow(ctx, `SELECT sluice_mend_log(NULL)`).Scan(&begun); err != nil {
		return l.failure("look for removed rows", err, reads)
	}
	if begun != nil {
		l.handoff.Store(nil)
		l.logger.Error("rows were removed from sluice_log by hand; they count as trimmed, and the log begins a new epoch: who has not got past them is told to begin anew", "epoch", *begun, "addr", l.server.addr)
	}
	return nil
}

// noteHole has a hole in the log, which no trigger has seen, count as trimmed.
func (l *Log) noteHole(ctx context.Context, after, found int64) error {
	what := fmt.Sprintf("sluice_log has a gap: offset %d follows %d", found, after)
	var noted bool
	if err := l.pool.QueryRow(ctx, `SELECT sluice_note_removed($1)`, found-1).Scan(&noted); err != nil {
		return l.failure(what, err, reads)
	}
	if noted {
		l.logger.Error("rows were removed from sluice_log by hand; they count as trimmed", "after", after, "before", found, "addr", l.server.addr)
	}
	return fmt.Errorf("postgres: %s; rows were removed from it by hand: %w", what, store.ErrTrimmed)
}
