package sqlite

import (
	"context"

	"github.com/sluicehq/sluice/store"
)

const historySQL = `SELECT e.epoch, e.first, trimmed, max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)), erased, max_payload
	FROM sluice_meta, sluice_epochs e ORDER BY e.number`

// History implements [store.Log].
func (l *Log) History(ctx context.Context) (h store.History, err error) {
	rows, err := l.queries.QueryContext(ctx, historySQL)
	if err != nil {
		return store.History{}, l.failure("read the log's history", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e store.Epoch
		if err := rows.Scan(&e.ID, &e.First, &h.Trimmed, &h.Offset, &h.Erased, &h.MaxPayload); err != nil {
			return store.History{}, l.failure("read the log's history", err)
		}
		h.Epoch = e.ID
		h.Epochs = append(h.Epochs, e)
	}
	if err := rows.Err(); err != nil {
		return store.History{}, l.failure("read the log's history", err)
	}
	l.head.Advance(h.Offset)
	l.maxPayload.Store(h.MaxPayload)
	return h, nil
}
