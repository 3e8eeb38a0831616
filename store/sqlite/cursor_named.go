package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

const (
	cursorsSQL = `SELECT name, epoch, "offset", updated_at FROM sluice_cursors
		WHERE substr(name, 1, length(?1)) = ?1 AND name > ?2 ORDER BY name LIMIT ?3`
	beginCursorSQL = `INSERT INTO sluice_cursors (name, epoch, "offset", updated_at) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO NOTHING`
	moveCursorSQL  = `UPDATE sluice_cursors SET epoch = ?2, "offset" = ?3, updated_at = ?4 WHERE name = ?1 AND epoch = ?5 AND "offset" = ?6`
	dropCursorSQL  = `DELETE FROM sluice_cursors WHERE name = ?`
)

// Cursors implements [store.Cursors].
func (l *Log) Cursors(ctx context.Context, prefix, after string, limit int) ([]store.NamedCursor, error) {
	list, err := l.listCursors(ctx, prefix, after, limit)
	if err != nil {
		return nil, l.failure(fmt.Sprintf("list cursors %q", prefix), err)
	}
	return list, nil
}

func (l *Log) listCursors(ctx context.Context, prefix, after string, limit int) (list []store.NamedCursor, err error) {
	rows, err := l.queries.QueryContext(ctx, cursorsSQL, prefix, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c store.NamedCursor
		var at int64
		if err := rows.Scan(&c.Name, &c.Epoch, &c.Offset, &at); err != nil {
			return nil, err
		}
		c.UpdatedAt = time.UnixMicro(at).UTC()
		list = append(list, c)
	}
	return list, rows.Err()
}

// MoveCursor implements [store.Cursors].
func (l *Log) MoveCursor(ctx context.Context, name string, from *store.Cursor, to store.Cursor) (moved bool, err error) {
	sql, args := beginCursorSQL, []any{name, to.Epoch, to.Offset, time.Now().UnixMicro()}
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
	err = l.borrowWriter(ctx, func(*writer) error {
		result, err := l.queries.ExecContext(ctx, sql, args...)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		changed = rows > 0
		return err
	})
	if err != nil {
		return false, l.failure(op, err)
	}
	return changed, nil
}
