package sqlite

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

const (
	// holeEpochSQL begins an epoch for a hole before an offset, unless it is the log's
	// front alone.
	holeEpochSQL = `INSERT INTO sluice_epochs SELECT NULL, lower(hex(randomblob(16))), 0 FROM sluice_meta
		WHERE EXISTS (SELECT 1 FROM sluice_log WHERE "offset" > trimmed AND "offset" < ?1)`

	holeSQL = `UPDATE sluice_meta SET trimmed = ?1 - 1 WHERE trimmed < ?1 - 1`
)

// noteHole has a hole in the log, which no trigger has seen, count as trimmed.
func (l *Log) noteHole(ctx context.Context, after, found int64) error {
	what := fmt.Sprintf("sluice_log has a gap: offset %d follows %d", found, after)
	var noted int64
	err := l.borrowWriter(ctx, func(w *writer) error {
		return w.transact(func() (err error) {
			// What another process has noted meanwhile has no rows before it any more.
			if _, err = w.exec(w.holeEpoch, found); err == nil {
				noted, err = w.exec(w.hole, found)
			}
			return err
		})
	})
	if err != nil {
		return l.failure(what, err)
	}
	if noted > 0 {
		l.handoff.Store(nil)
		l.logger.Error("rows were removed from sluice_log by hand; they count as trimmed", "after", after, "before", found, "path", l.path)
	}
	return fmt.Errorf("sqlite: %s; rows were removed from it by hand: %w", what, store.ErrTrimmed)
}
