package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

// What the log and its readers stand by is asked of a primary: connections see to
// it, but a pooler may lead each of them to another server.
const headSQL = `SELECT (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1),
	t.trimmed, greatest(t.trimmed, (SELECT max("offset") FROM sluice_log)), erased, max_payload, pg_is_in_recovery() FROM sluice_meta, sluice_trimmed t`

// cursorSQL has a row also where there is no cursor.
const cursorSQL = `SELECT epoch, "offset", pg_is_in_recovery() FROM (VALUES (1)) one LEFT JOIN sluice_cursors ON name = $1`

// Head implements [store.Log].
func (l *Log) Head(ctx context.Context) (store.Head, error) {
	head, err := l.readHead(ctx, l.pool)
	if err != nil {
		return store.Head{}, l.blame(ctx, l.pool, l.failure("read the log's head", err, reads))
	}
	return head, nil
}

func (l *Log) readHead(ctx context.Context, q querier) (head store.Head, err error) {
	var standby bool
	began := l.now()
	if err := q.QueryRow(ctx, headSQL).Scan(&head.Epoch, &head.Trimmed, &head.Offset, &head.Erased, &head.MaxPayload, &standby); errors.Is(err, pgx.ErrNoRows) {
		return store.Head{}, errNoMeta
	} else if err != nil {
		return store.Head{}, err
	}
	if standby {
		return store.Head{}, pgconn.ErrStandbyConnection
	}
	l.asked.Store(int64(began))
	l.head.Advance(head.Offset)
	l.maxPayload.Store(head.MaxPayload)
	return head, nil
}

// Cursor implements [store.Log].
func (l *Log) Cursor(ctx context.Context, name string) (c store.Cursor, ok bool, err error) {
	var epoch *string
	var offset *int64
	var standby bool
	err = l.pool.QueryRow(ctx, cursorSQL, name).Scan(&epoch, &offset, &standby)
	if err == nil && standby {
		err = pgconn.ErrStandbyConnection
	}
	switch {
	case err != nil:
		return store.Cursor{}, false, l.failure(fmt.Sprintf("read cursor %q", name), err, reads)
	case epoch == nil:
		return store.Cursor{}, false, nil
	}
	return store.Cursor{Epoch: *epoch, Offset: *offset}, true, nil
}

const commitSQL = `INSERT INTO sluice_cursors AS c (name, epoch, "offset") VALUES ($1, $2, $3)
	ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, "offset" = excluded."offset", updated_at = excluded.updated_at
	WHERE c.epoch <> excluded.epoch OR c."offset" < excluded."offset"`

// Commit implements [store.Log]. It may be repeated, so a failure is always
// safe to retry.
func (l *Log) Commit(ctx context.Context, name string, c store.Cursor) error {
	end := l.writing.begin(committing)
	_, err := l.pool.Exec(ctx, commitSQL, name, c.Epoch, c.Offset)
	if err != nil {
		err = l.failure(fmt.Sprintf("commit cursor %q at %d", name, c.Offset), err, reads)
	}
	return end(err)
}
