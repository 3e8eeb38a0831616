package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// eraseBatch bounds the events that one transaction of an erasure looks at, so
// that nothing waits for it for long.
const eraseBatch = 1000

const (
	// Offsets of a topic's next events, by the index on topics.
	eraseNextSQL = `SELECT coalesce(array_agg("offset"), '{}') FROM
		(SELECT "offset" FROM sluice_log WHERE topic = $1 AND "offset" > $2 AND "offset" <= $3 ORDER BY "offset" LIMIT $4) next`

	// The bounds choose partitions.
	eraseSQL = `UPDATE sluice_log SET payload = '{}'
		WHERE "offset" >= $1 AND "offset" <= $2 AND "offset" = ANY ($3) AND payload::text <> '{}'
		AND ($4::text IS NULL OR key = $4) AND ($5::timestamptz IS NULL OR inserted_at < $5)`

	// What was set aside has no offset: it goes unless a time or a key keeps it.
	eraseRejectedSQL = `UPDATE sluice_rejected SET payload = '{}' WHERE topic = $1 AND payload::text <> '{}'
		AND ($2::text IS NULL OR key = $2) AND ($3::timestamptz IS NULL OR inserted_at < $3)`

	eraseCountSQL = `UPDATE sluice_meta SET erased = erased + 1 RETURNING erased, ` + boundedSQL // as of a revocation
	eraseNoteSQL  = `INSERT INTO sluice_erasures (number, topic, up_to) VALUES ($1, $2, $3)`
	eraseOldSQL   = `DELETE FROM sluice_erasures WHERE at < now() - interval '1 day'`
)

// Erase implements [store.Log].
func (l *Log) Erase(ctx context.Context, which store.Selection) (count, through int64, more bool, err error) {
	count, through, more, err = l.erase(ctx, which)
	l.handoff.Store(nil)
	if err != nil {
		return count, 0, false, l.failure(fmt.Sprintf("erase %q", which.Topic), err, reads)
	}
	return count, through, more, nil
}

func (l *Log) erase(ctx context.Context, which store.Selection) (count, through int64, more bool, err error) {
	head, err := l.readHead(ctx, l.pool)
	if err != nil {
		return 0, 0, false, err
	}
	var before any // NULL
	if !which.BeforeTime.IsZero() {
		before = which.BeforeTime
	}
	topic := storable(which.Topic)
	upTo := which.UpTo(head.Offset)
	for after, looked := max(head.Trimmed, which.AfterOffset), 0; ; {
		if more = which.Limit > 0 && looked >= which.Limit; more {
			upTo = after
			break
		}
		var next []int64
		if err := l.pool.QueryRow(ctx, eraseNextSQL, topic, after, upTo, eraseBatch).Scan(&next); err != nil {
			return count, 0, false, err
		}
		if len(next) == 0 {
			break
		}
		first, last := next[0], next[len(next)-1]
		done, err := l.pool.Exec(ctx, eraseSQL, first, last, next, which.Key, before)
		if err != nil {
			return count, 0, false, err
		}
		count += done.RowsAffected()
		after, looked = last, looked+len(next)
	}
	// Others are told last: what they read from then on is erased.
	err = pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		done, err := tx.Exec(ctx, eraseRejectedSQL, topic, which.Key, before)
		if err != nil {
			return err
		}
		count += done.RowsAffected()
		var number int64
		if err := tx.QueryRow(ctx, eraseCountSQL).Scan(&number, nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, eraseNoteSQL, number, topic, upTo); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, eraseOldSQL)
		return err
	})
	return count, upTo, more, err
}

// Erasures implements [store.Log].
func (l *Log) Erasures(ctx context.Context, after int64) ([]store.Erasure, error) {
	rows, err := l.pool.Query(ctx, `SELECT number, topic, up_to FROM sluice_erasures WHERE number > $1 ORDER BY number`, after)
	if err == nil {
		var list []store.Erasure
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[store.Erasure])
		if err == nil {
			l.handoff.Store(nil) // it may be of before
			return list, nil
		}
	}
	return nil, l.failure("read erasures", err, reads)
}
