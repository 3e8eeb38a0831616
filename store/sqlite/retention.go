package sqlite

import (
	"context"
	"time"
)

// maxTrimPause bounds how late retention takes effect.
const maxTrimPause = time.Minute

// removeBatch bounds the rows that one transaction removes from the log, so
// that writers do not wait for it for long.
const removeBatch = 1000

// trimRegularly keeps to the retention until ctx ends.
func (l *Log) trimRegularly(ctx context.Context) {
	due := time.NewTicker(min(maxTrimPause, max(l.retention/4, time.Millisecond)))
	defer due.Stop()
	for {
		if err := l.trim(ctx); err != nil && ctx.Err() == nil {
			l.failures.Add(1)
			l.logger.Error("the log cannot be trimmed; trying again", "error", l.failure("trim the log", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

// trim lets the log's beginning advance, and then removes what lies before it:
// readers must be told that rows are gone as soon as they are.
func (l *Log) trim(ctx context.Context) error {
	trimmed, err := l.advanceTrimmed(ctx)
	if err != nil {
		return err
	}
	for removed := int64(removeBatch); removed == removeBatch; {
		err := l.borrowWriter(ctx, func(w *writer) error {
			return w.transact(func() (err error) {
				removed, err = w.exec(w.remove, trimmed, int64(removeBatch))
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	markSQL = `INSERT INTO sluice_marks (at, "offset")
		SELECT ?1, head FROM (` + lastSQL + `)
		WHERE head > (SELECT max(trimmed, coalesce((SELECT max("offset") FROM sluice_marks), 0)) FROM sluice_meta)
			AND ?1 >= (SELECT coalesce(max(at), 0) + ?2 FROM sluice_marks)`

	advanceSQL = `UPDATE sluice_meta SET trimmed = max(trimmed, (SELECT max("offset") FROM sluice_marks WHERE at <= ?1))
		WHERE EXISTS (SELECT 1 FROM sluice_marks WHERE at <= ?1)`

	forgetMarksSQL = `DELETE FROM sluice_marks WHERE at <= ?1`

	trimmedSQL = `SELECT trimmed FROM sluice_meta`

	removeSQL = `DELETE FROM sluice_log WHERE "offset" IN
		(SELECT "offset" FROM sluice_log WHERE "offset" <= ?1 ORDER BY "offset" LIMIT ?2)`
)

// advanceTrimmed takes note of the time, and lets trimmed advance to what has
// been in the log for longer than the retention.
func (l *Log) advanceTrimmed(ctx context.Context) (trimmed int64, err error) {
	apart := max(l.retention/1000, time.Microsecond).Microseconds()
	err = l.borrowWriter(ctx, func(w *writer) error {
		return w.transact(func() error {
			// Of a time before the file was ours, events that came in the
			// meantime would be taken for older than they are.
			now := time.Now()
			kept := now.Add(-l.retention).UnixMicro()
			if _, err := w.exec(w.mark, now.UnixMicro(), apart); err != nil {
				return err
			}
			if _, err := w.exec(w.advance, kept); err != nil {
				return err
			}
			if _, err := w.exec(w.forgetMarks, kept); err != nil {
				return err
			}
			trimmed, err = w.integer(w.trimmed)
			return err
		})
	})
	return trimmed, err
}
