package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// maxTrimPause bounds how late retention takes effect.
const maxTrimPause = time.Minute

// Attempts to have a partition for ourselves before a check gives up, and the
// pause between them.
const (
	maxRemoveAttempts = 5
	maxRemovePause    = time.Second
)

// removeBatch bounds the rows that one transaction removes from the log.
const removeBatch = 2000

// trimWhileLeading keeps to the retention once this session leads, until ctx
// ends.
func (s *session) trimWhileLeading(ctx context.Context) {
	select {
	case <-s.leading:
		s.log.trimRegularly(ctx)
	case <-ctx.Done():
	}
}

func (l *Log) trimRegularly(ctx context.Context) {
	due := time.NewTicker(l.trimPause())
	defer due.Stop()
	for {
		if err := l.trim(ctx); err != nil && ctx.Err() == nil {
			l.failures.Add(1)
			l.logger.Error("the log cannot be trimmed; trying again", "error", l.server.failure("trim the log", err, reads))
		}
		select {
		case <-ctx.Done():
			return
		case <-due.C:
		}
	}
}

func (l *Log) trimPause() time.Duration {
	return min(maxTrimPause, max(l.retention/4, time.Millisecond))
}

// trim lets the log's beginning advance, and then removes what lies before it:
// readers must be told that rows are gone as soon as they are.
func (l *Log) trim(ctx context.Context) error {
	var trimmed, openFrom *int64
	if err := l.pool.QueryRow(ctx, `SELECT trimmed, open_from FROM sluice_trim($1)`, l.retention).Scan(&trimmed, &openFrom); err != nil {
		return err
	}
	if trimmed == nil { // another session is at it
		return nil
	}
	if openFrom != nil {
		if err := l.removeRows(ctx, *openFrom, *trimmed); err != nil {
			return err
		}
	}
	return l.removePartitions(ctx)
}

// removeRows removes rows from the offset first through last.
func (l *Log) removeRows(ctx context.Context, first, last int64) error {
	var from *int64 // the first that is there
	err := l.pool.QueryRow(ctx, `SELECT min("offset") FROM sluice_log WHERE "offset" BETWEEN $1 AND $2`, first, last).Scan(&from)
	if err != nil || from == nil {
		return err
	}
	for start := *from; start <= last; start += removeBatch {
		end := min(start+removeBatch-1, last)
		if _, err := l.pool.Exec(ctx, `DELETE FROM sluice_log WHERE "offset" BETWEEN $1 AND $2`, start, end); err != nil {
			return fmt.Errorf("remove offsets %d to %d: %w", start, end, err)
		}
	}
	return nil
}

// removePartitions removes the partitions of which nothing is kept. One that
// stays in use is left for the next time.
func (l *Log) removePartitions(ctx context.Context) error {
	pause := backoff.NewConstantBackOff(min(l.trimPause(), maxRemovePause))
	for {
		removed, err := backoff.Retry(ctx, func() (name *string, err error) {
			err = l.pool.QueryRow(ctx, `SELECT sluice_remove_partition()`).Scan(&name)
			if err != nil && !isLocked(err) {
				err = backoff.Permanent(err)
			}
			return name, err
		}, backoff.WithBackOff(pause), backoff.WithMaxTries(maxRemoveAttempts))
		switch {
		case isLocked(err):
			l.logger.Warn("a partition of the log has expired but is in use; it is removed later", "addr", l.server.addr)
			return nil
		case err != nil:
			return fmt.Errorf("remove a partition: %w", err)
		case removed == nil:
			return nil
		}
		l.logger.Info("partition of the log removed", "partition", *removed)
	}
}

// isLocked reports a lock_timeout.
func isLocked(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code == "55P03"
}
