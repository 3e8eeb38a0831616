package sqlite

import (
	"context"

	"github.com/sluicehq/sluice/store"
)

const extentSQL = `SELECT e.epoch, e.first, trimmed, max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)), erased, max_payload, installation
	FROM sluice_meta, sluice_epochs e ORDER BY e.number`

// Extent implements [store.Log].
func (l *Log) Extent(ctx context.Context) (h store.Extent, err error) {
	rows, err := l.queries.QueryContext(ctx, extentSQL)
	if err != nil {
		return store.Extent{}, l.failure("read the log's history", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e store.Epoch
		if err := rows.Scan(&e.ID, &e.First, &h.Trimmed, &h.Offset, &h.Erased, &h.MaxPayload, &h.Installation); err != nil {
			return store.Extent{}, l.failure("read the log's history", err)
		}
		h.Epoch = e.ID
		h.Epochs = append(h.Epochs, e)
	}
	if err := rows.Err(); err != nil {
		return store.Extent{}, l.failure("read the log's history", err)
	}
	l.head.Advance(h.Offset)
	l.maxPayload.Store(h.MaxPayload)
	return h, nil
}
