package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store/internal/arena"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

// insertSQL writes all rows of a group. Ids are given in the order of the
// arrays, since the rows are sorted before the defaults are filled in.
const insertSQL = `INSERT INTO sluice_outbox (topic, event, payload, key)
	SELECT topic, event, payload::json, key
	FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS draft (topic, event, payload, key, n)
	ORDER BY n`

// insert writes a batch in one transaction, for groupcommit.Group.
func (l *Log) insert(ctx context.Context, batch *groupcommit.Batch) error {
	drafts := batch.Drafts
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
	args := []any{topics, names, payloads, keys}
	if len(batch.Requests) > 0 {
		return l.insertOnce(ctx, batch, args)
	}
	return l.insertBy(args, func(args []any) error {
		_, err := l.pool.Exec(ctx, insertSQL, args...)
		return err
	}, func(args []any) error { return l.insertQuietly(ctx, insertSQL, args, nil) })
}

// insertBy inserts as insert does, or by quietly, where that was refused for what may have
// been the wake-up: the server's notification queue is full.
func (l *Log) insertBy(args []any, insert, quietly func(args []any) error) error {
	end := l.writing.begin(appending)
	err := insert(args)
	if refusal := new(pgconn.PgError); errors.As(err, &refusal) && class(refusal) == "54" {
		err = quietly(args)
	}
	if err != nil {
		err = l.failure("append", err, writes)
	}
	return end(err)
}

// hushSQL has the trigger that wakes the sequencer believe that it has done so.
const hushSQL = `SELECT set_config('sluice.wakes_' || 'sluice_outbox'::regclass::oid, 'yes', true)`

// insertQuietly writes drafts by a query, without a wake-up, and lets read have its rows
// unless that is nil.
func (l *Log) insertQuietly(ctx context.Context, query string, args []any, read func(pgx.Rows) error) error {
	var both pgx.Batch // one transaction
	both.Queue(hushSQL)
	if insert := both.Queue(query, args...); read != nil {
		insert.Query(read)
	}
	return l.pool.SendBatch(ctx, &both).Close()
}
