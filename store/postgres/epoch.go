package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

const extentSQL = `SELECT e.epoch, e.first, t.trimmed, greatest(t.trimmed, (SELECT max("offset") FROM sluice_log)), erased, max_payload, installation::text, pg_is_in_recovery()
	FROM sluice_meta, sluice_trimmed t, sluice_epochs e ORDER BY e.number`

// Extent implements [store.Log].
func (l *Log) Extent(ctx context.Context) (h store.Extent, err error) {
	rows, err := l.pool.Query(ctx, extentSQL)
	if err != nil {
		return store.Extent{}, l.failure("read the log's history", err, reads)
	}
	defer rows.Close()
	for rows.Next() {
		var e store.Epoch
		var standby bool
		err := rows.Scan(&e.ID, &e.First, &h.Trimmed, &h.Offset, &h.Erased, &h.MaxPayload, &h.Installation, &standby)
		if err == nil && standby {
			err = pgconn.ErrStandbyConnection
		}
		if err != nil {
			return store.Extent{}, l.failure("read the log's history", err, reads)
		}
		h.Epoch = e.ID
		h.Epochs = append(h.Epochs, e)
	}
	if err := rows.Err(); err != nil {
		return store.Extent{}, l.failure("read the log's history", err, reads)
	}
	if len(h.Epochs) == 0 {
		return store.Extent{}, l.failure("read the log's history", errNoMeta, reads)
	}
	l.head.Advance(h.Offset)
	l.maxPayload.Store(h.MaxPayload)
	return h, nil
}
