package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// insertSQL writes all rows of a group. Ids are given in the order of the
// arrays, since the rows are sorted before the defaults are filled in.
const insertSQL = `INSERT INTO sluice_outbox (topic, event, payload, key)
	SELECT topic, event, payload::json, key
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS draft (topic, event, payload, key, n)
	ORDER BY n`

// insert writes drafts in one transaction, for groupcommit.Group.
func (l *Log) insert(ctx context.Context, drafts []store.Draft) error {
	topics := make([]string, len(drafts))
	names := make([]string, len(drafts))
	payloads := make([]string, len(drafts))
	keys := make([]*string, len(drafts))
	present := make([]string, len(drafts)) // what keys point into
	for i := range drafts {
		d := &drafts[i]
		topics[i], names[i], payloads[i] = d.Topic, d.Name, arena.Text(d.Payload)
		if d.Key != nil {
			present[i] = arena.Text(d.Key)
			keys[i] = &present[i]
		}
	}
	end := l.writing.begin(appending)
	_, err := l.pool.Exec(ctx, insertSQL, topics, names, payloads, keys)
	if refusal := new(pgconn.PgError); errors.As(err, &refusal) && class(refusal) == "54" {
		err = l.insertQuietly(ctx, topics, names, payloads, keys)
	}
	if err != nil {
		err = l.failure("append", err, writes)
	}
	return end(err)
}

// hushSQL has the trigger that wakes the sequencer believe that it has done so.
const hushSQL = `SELECT set_config('sluice.wakes_' || 'sluice_outbox'::regclass::oid, 'yes', true)`

// insertQuietly writes drafts without a wake-up, after a refusal that may have been
// the wake-up's: the server's notification queue is full.
func (l *Log) insertQuietly(ctx context.Context, args ...any) error {
	var both pgx.Batch // one transaction
	both.Queue(hushSQL)
	both.Queue(insertSQL, args...)
	return l.pool.SendBatch(ctx, &both).Close()
}
