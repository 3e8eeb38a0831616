package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// watchedSQL bounds what is read: a database may have a table for each tenant.
const watchedSQL = `SELECT coalesce("table", ''), topic, columns, coalesce(key, ''), events, unpublished, broken FROM sluice_watched ORDER BY "table", topic LIMIT 1000`

// Watched implements [store.Log].
func (l *Log) Watched(ctx context.Context) ([]store.Watched, error) {
	rows, err := l.pool.Query(ctx, watchedSQL)
	if err == nil {
		var all []store.Watched
		if all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[store.Watched]); err == nil {
			return all, nil
		}
	}
	return nil, l.failure("read what tables are watched", err, reads)
}
