package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

const (
	// cursorsSQL has a row also where there is no cursor: see cursorSQL.
	cursorsSQL = `SELECT pg_is_in_recovery(), c.* FROM (VALUES (1)) one LEFT JOIN (SELECT name, epoch, "offset", updated_at FROM sluice_cursors
		WHERE starts_with(name, $1) AND name COLLATE "C" > $2 ORDER BY name COLLATE "C" LIMIT $3) c ON true ORDER BY c.name COLLATE "C"`
	beginCursorSQL = `INSERT INTO sluice_cursors (name, epoch, "offset") VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`
	moveCursorSQL  = `UPDATE sluice_cursors SET epoch = $2, "offset" = $3, updated_at = clock_timestamp() WHERE name = $1 AND epoch = $4 AND "offset" = $5`
	dropCursorSQL  = `DELETE FROM sluice_cursors WHERE name = $1`
)

// Cursors implements [store.Cursors].
func (l *Log) Cursors(ctx context.Context, prefix, after string, limit int) ([]store.NamedCursor, error) {
	rows, err := l.pool.Query(ctx, cursorsSQL, prefix, after, limit)
	var list []store.NamedCursor
	if err == nil {
		list, err = collectCursors(rows)
	}
	if err != nil {
		return nil, l.failure(fmt.Sprintf("list cursors %q", prefix), err, reads)
	}
	return list, nil
}

func collectCursors(rows pgx.Rows) (list []store.NamedCursor, err error) {
	defer rows.Close()
	for rows.Next() {
		var standby bool
		var name, epoch *string
		var offset *int64
		var at *time.Time
		if err := rows.Scan(&standby, &name, &epoch, &offset, &at); err != nil {
			return nil, err
		}
		if standby {
			return nil, pgconn.ErrStandbyConnection
		}
		if name != nil {
			list = append(list, store.NamedCursor{Name: *name, Cursor: store.Cursor{Epoch: *epoch, Offset: *offset}, UpdatedAt: at.UTC()})
		}
	}
	return list, rows.Err()
}

// MoveCursor implements [store.Cursors]. Where a failure leaves open whether it has moved, a
// second call that finds from no more says so.
func (l *Log) MoveCursor(ctx context.Context, name string, from *store.Cursor, to store.Cursor) (moved bool, err error) {
	sql, args := beginCursorSQL, []any{name, to.Epoch, to.Offset}
	if from != nil {
		sql, args = moveCursorSQL, append(args, from.Epoch, from.Offset)
	}
	return l.changeCursor(ctx, fmt.Sprintf("move cursor %q to %d", name, to.Offset), sql, args...)
}

// DeleteCursor implements [store.Cursors].
func (l *Log) DeleteCursor(ctx context.Context, name string) (deleted bool, err error) {
	return l.changeCursor(ctx, fmt.Sprintf("delete cursor %q", name), dropCursorSQL, name)
}

func (l *Log) changeCursor(ctx context.Context, op, sql string, args ...any) (changed bool, err error) {
	end := l.writing.begin(committing)
	tag, err := l.pool.Exec(ctx, sql, args...)
	if err != nil {
		err = l.failure(op, err, reads)
	}
	return tag.RowsAffected() > 0, end(err)
}
