package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

const headSQL = `SELECT (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1),
	trimmed, max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)), erased, max_payload FROM sluice_meta`

// Head implements [store.Log].
func (l *Log) Head(ctx context.Context) (head store.Head, err error) {
	if err := l.checkFile(); err != nil {
		return store.Head{}, err
	}
	if err := l.queries.QueryRowContext(ctx, headSQL).Scan(&head.Epoch, &head.Trimmed, &head.Offset, &head.Erased, &head.MaxPayload); err != nil {
		return store.Head{}, l.failure("read the log's head", err)
	}
	l.head.Advance(head.Offset)
	l.maxPayload.Store(head.MaxPayload)
	return head, nil
}

// Cursor implements [store.Log].
func (l *Log) Cursor(ctx context.Context, name string) (c store.Cursor, ok bool, err error) {
	err = l.queries.QueryRowContext(ctx, `SELECT epoch, "offset" FROM sluice_cursors WHERE name = ?`, name).Scan(&c.Epoch, &c.Offset)
	if errors.Is(err, sql.ErrNoRows) {
		return store.Cursor{}, false, nil
	}
	if err != nil {
		return store.Cursor{}, false, l.failure(fmt.Sprintf("read cursor %q", name), err)
	}
	return c, true, nil
}

const commitSQL = `INSERT INTO sluice_cursors AS c (name, epoch, "offset", updated_at) VALUES (?, ?, ?, ?)
	ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, "offset" = excluded."offset", updated_at = excluded.updated_at
	WHERE c.epoch <> excluded.epoch OR c."offset" < excluded."offset"`

// Commit implements [store.Log].
func (l *Log) Commit(ctx context.Context, name string, c store.Cursor) error {
	err := l.borrowWriter(ctx, func(w *writer) error {
		_, err := w.exec(w.commitCursor, name, c.Epoch, c.Offset, time.Now().UnixMicro())
		return err
	})
	if err != nil {
		return l.failure(fmt.Sprintf("commit cursor %q at %d", name, c.Offset), err)
	}
	return nil
}
