package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

const headSQL = `SELECT (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1),
	trimmed, greatest(trimmed, (SELECT max("offset") FROM sluice_log)) FROM sluice_meta`

// Head implements [store.Log].
func (l *Log) Head(ctx context.Context) (store.Head, error) {
	head, err := l.readHead(ctx, l.pool)
	if err != nil {
		return store.Head{}, l.failure("read the log's head", err, reads)
	}
	return head, nil
}

func (l *Log) readHead(ctx context.Context, q querier) (head store.Head, err error) {
	if err := q.QueryRow(ctx, headSQL).Scan(&head.Epoch, &head.Trimmed, &head.Offset); err != nil {
		return store.Head{}, err
	}
	l.head.Advance(head.Offset)
	return head, nil
}

// Cursor implements [store.Log].
func (l *Log) Cursor(ctx context.Context, name string) (c store.Cursor, ok bool, err error) {
	err = l.pool.QueryRow(ctx, `SELECT epoch, "offset" FROM sluice_cursors WHERE name = $1`, name).Scan(&c.Epoch, &c.Offset)
	if errors.Is(err, pgx.ErrNoRows) {
		return store.Cursor{}, false, nil
	}
	if err != nil {
		return store.Cursor{}, false, l.failure(fmt.Sprintf("read cursor %q", name), err, reads)
	}
	return c, true, nil
}

const commitSQL = `INSERT INTO sluice_cursors AS c (name, epoch, "offset") VALUES ($1, $2, $3)
	ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, "offset" = excluded."offset", updated_at = excluded.updated_at
	WHERE c.epoch <> excluded.epoch OR c."offset" < excluded."offset"`

// Commit implements [store.Log]. It may be repeated, so a failure is always
// safe to retry.
func (l *Log) Commit(ctx context.Context, name string, c store.Cursor) error {
	if _, err := l.pool.Exec(ctx, commitSQL, name, c.Epoch, c.Offset); err != nil {
		return l.failure(fmt.Sprintf("commit cursor %q at %d", name, c.Offset), err, reads)
	}
	return nil
}
