package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// maxMove bounds the rows that one transaction moves from the outbox to the
// log, so that writers wait for none of them for long.
const maxMove = 1000

const (
	lastSQL = `SELECT max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)) AS head FROM sluice_meta`

	moveSQL = `INSERT INTO sluice_log ("offset", topic, event, payload, key, inserted_at)
		SELECT ? + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at
		FROM (SELECT * FROM sluice_outbox ORDER BY id LIMIT ?)`

	takeSQL = `DELETE FROM sluice_outbox WHERE id IN (SELECT id FROM sluice_outbox ORDER BY id LIMIT ?)`

	insertSQL = `INSERT INTO sluice_log ("offset", topic, event, payload, key, inserted_at) VALUES (?, ?, ?, ?, ?, ?)`
)

// write appends drafts to the log in one transaction, after all that the
// outbox holds, for group.Group.
func (l *Log) write(ctx context.Context, drafts []store.Draft) error {
	for {
		written, err := l.writeRound(ctx, drafts)
		if err != nil {
			return l.failure("append", err)
		}
		if written {
			return nil
		}
	}
}

// drain moves all that the outbox holds to the log.
func (l *Log) drain(ctx context.Context) error { return l.write(ctx, nil) }

// writeRound moves one batch from the outbox and, unless it leaves some
// there, writes the drafts.
func (l *Log) writeRound(ctx context.Context, drafts []store.Draft) (written bool, err error) {
	tx, err := l.writer.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()

	var last int64
	if err := tx.QueryRowContext(ctx, lastSQL).Scan(&last); err != nil {
		return false, err
	}
	moved, err := move(ctx, tx, last)
	if err != nil {
		return false, err
	}
	last += moved
	written = moved < maxMove
	if written {
		if err := l.insertDrafts(tx, last, drafts); err != nil {
			return false, err
		}
		last += int64(len(drafts))
	}
	if err := tx.Commit(); err != nil {
		return false, err
	}
	l.head.Advance(last)
	return written, nil
}

// insertDrafts uses no context: the driver would watch it anew for each row,
// which takes longer than the row does.
func (l *Log) insertDrafts(tx *sql.Tx, last int64, drafts []store.Draft) error {
	insert := tx.Stmt(l.insert)
	now := time.Now().UnixMicro()
	for i := range drafts {
		d := &drafts[i]
		var key any
		if d.Key != nil {
			key = arena.Text(d.Key)
		}
		if _, err := insert.Exec(last+1+int64(i), d.Topic, d.Name, arena.Text(d.Payload), key, now); err != nil {
			return err
		}
	}
	return nil
}

func move(ctx context.Context, tx *sql.Tx, last int64) (moved int64, err error) {
	result, err := tx.ExecContext(ctx, moveSQL, last, maxMove)
	if err != nil {
		return 0, err
	}
	if moved, err = result.RowsAffected(); err != nil || moved == 0 {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, takeSQL, maxMove)
	return moved, err
}
