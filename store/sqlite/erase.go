package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

// eraseBatch bounds the events that one transaction of an erasure looks at, so
// that writers do not wait for it for long.
const eraseBatch = 1000

// erasuresKept is for how long it can be learnt what was erased.
const erasuresKept = 24 * time.Hour

const (
	eraseNextSQL = `SELECT count(*), coalesce(max("offset"), 0) FROM (` + eraseOffsetsSQL + `)`

	eraseOffsetsSQL = `SELECT "offset" FROM (
		SELECT "offset" FROM sluice_topics WHERE topic = ?1 AND "offset" > ?2 AND "offset" <= ?3
		UNION ALL
		SELECT "offset" FROM sluice_topics_recent WHERE topic = ?1 AND "offset" > ?2 AND "offset" <= ?3)
		ORDER BY "offset" LIMIT ?4`

	// A payload of two bytes is {}; its length is told without reading it.
	eraseSQL = `UPDATE sluice_log SET payload = '{}' WHERE "offset" IN (` + eraseOffsetsSQL + `)
		AND octet_length(payload) > 2 AND (?5 IS NULL OR key = ?5) AND (?6 IS NULL OR inserted_at < ?6)`

	// What was set aside has no offset: it goes unless a time or a key keeps it.
	eraseRejectedSQL = `UPDATE sluice_rejected SET payload = CAST('{}' AS BLOB) WHERE topic = ?1 AND length(payload) > 2
		AND (?2 IS NULL OR key = ?2) AND (?3 IS NULL OR inserted_at < ?3)`

	eraseNoteSQL = `INSERT INTO sluice_erasures (number, topic, up_to, at) SELECT erased, ?1, ?2, ?3 FROM sluice_meta`
)

// Erase implements [store.Log].
func (l *Log) Erase(ctx context.Context, which store.Selection) (count, through int64, more bool, err error) {
	count, through, more, err = l.erase(ctx, which)
	l.handoff.Store(nil)
	if err != nil {
		return count, 0, false, l.failure(fmt.Sprintf("erase %q", which.Topic), err)
	}
	return count, through, more, nil
}

// erase writes on a connection of its own, of which SQLite overwrites what it
// lets go of, in the log's turns as a writer.
func (l *Log) erase(ctx context.Context, which store.Selection) (count, through int64, more bool, err error) {
	head, err := l.Head(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	conn, err := l.queries.Conn(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	// It is not used again: its settings are those of an erasure.
	defer conn.Raw(func(any) error { return driver.ErrBadConn })
	if _, err := conn.ExecContext(ctx, `PRAGMA secure_delete = ON`); err != nil {
		return 0, 0, false, err
	}
	var before any // NULL
	if !which.BeforeTime.IsZero() {
		before = which.BeforeTime.UnixMicro()
	}
	upTo := which.UpTo(head.Offset)
	for after, looked := max(head.Trimmed, which.AfterOffset), 0; ; {
		if more = which.Limit > 0 && looked >= which.Limit; more {
			upTo = after
			break
		}
		var found, last int64
		if err := conn.QueryRowContext(ctx, eraseNextSQL, which.Topic, after, upTo, eraseBatch).Scan(&found, &last); err != nil {
			return count, 0, false, err
		}
		if found == 0 {
			break
		}
		err := l.borrowWriter(ctx, func(*writer) error {
			done, err := conn.ExecContext(ctx, eraseSQL, which.Topic, after, upTo, eraseBatch, which.Key, before)
			if err != nil {
				return err
			}
			changed, err := done.RowsAffected()
			count += changed
			return err
		})
		if err != nil {
			return count, 0, false, err
		}
		after, looked = last, looked+int(found)
	}
	err = l.borrowWriter(ctx, func(*writer) error {
		_, err := conn.ExecContext(ctx, eraseRejectedSQL, which.Topic, which.Key, before)
		return err
	})
	if err != nil {
		return count, 0, false, err
	}
	err = l.borrowWriter(ctx, func(*writer) error { return noteErasure(ctx, conn, which.Topic, upTo) })
	if err != nil {
		return count, 0, false, err
	}
	// What was written before stands in the write-ahead log until that begins anew:
	// now, unless somebody reads from it. Nobody is kept waiting for that.
	_, err = conn.ExecContext(ctx, `PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE)`)
	return count, upTo, more, err
}

func noteErasure(ctx context.Context, conn *sql.Conn, topic string, upTo int64) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	now := time.Now()
	if _, err := tx.ExecContext(ctx, `UPDATE sluice_meta SET erased = erased + 1`); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, eraseNoteSQL, topic, upTo, now.UnixMicro()); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM sluice_erasures WHERE at < ?`, now.Add(-erasuresKept).UnixMicro()); err != nil {
		return err
	}
	return tx.Commit()
}

// Erasures implements [store.Log].
func (l *Log) Erasures(ctx context.Context, after int64) (list []store.Erasure, err error) {
	rows, err := l.queries.QueryContext(ctx, `SELECT number, topic, up_to FROM sluice_erasures WHERE number > ? ORDER BY number`, after)
	if err != nil {
		return nil, l.failure("read erasures", err)
	}
	defer rows.Close()
	for rows.Next() {
		var one store.Erasure
		if err := rows.Scan(&one.Number, &one.Topic, &one.UpTo); err != nil {
			return nil, l.failure("read erasures", err)
		}
		list = append(list, one)
	}
	if err := rows.Err(); err != nil {
		return nil, l.failure("read erasures", err)
	}
	return list, nil
}
