package sqlite

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

// maxMove bounds the rows that one transaction moves from the outbox to the
// log, so that writers wait for none of them for long.
const maxMove = 1000

// maxMoveBytes bounds their payloads, which SQLite holds in memory while it numbers
// the rows. One that is larger is moved alone.
const maxMoveBytes = 8 << 20

const (
	fitSQL = `SELECT count(*), count(*) FILTER (WHERE number = 1 OR total <= ?2), count(*) FILTER (WHERE size > ?3) FROM (
		SELECT size, row_number() OVER (ORDER BY id) AS number, sum(size) OVER (ORDER BY id) AS total
		FROM (SELECT id, octet_length(payload) AS size FROM sluice_outbox ORDER BY id LIMIT ?1))`

	lastSQL = `SELECT max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0)) AS head,
		(SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1), max_payload FROM sluice_meta`

	moveSQL = `INSERT INTO sluice_log ("offset", topic, event, payload, key, inserted_at)
		SELECT ? + row_number() OVER (ORDER BY id), topic, event, payload, key, inserted_at
		FROM (SELECT * FROM sluice_outbox ORDER BY id LIMIT ?)`

	takeSQL = `DELETE FROM sluice_outbox WHERE id IN (SELECT id FROM sluice_outbox ORDER BY id LIMIT ?)`

	insertSQL = `INSERT INTO sluice_log ("offset", topic, event, payload, key, inserted_at) VALUES (?, ?, ?, ?, ?, ?)`
)

// write appends a batch to the log in one transaction, after all that the
// outbox holds, for groupcommit.Group.
func (l *Log) write(ctx context.Context, batch *groupcommit.Batch) error {
	for {
		written, err := l.writeRound(ctx, batch)
		if err != nil {
			return l.failure("append", err)
		}
		if written {
			return nil
		}
	}
}

// drain moves all that the outbox holds to the log.
func (l *Log) drain(ctx context.Context) error { return l.write(ctx, new(groupcommit.Batch)) }

// writeRound moves one batch from the outbox and, unless it leaves some
// there, writes the batch.
func (l *Log) writeRound(ctx context.Context, batch *groupcommit.Batch) (written bool, err error) {
	r := round{batch: batch}
	var took time.Duration
	err = l.borrowWriter(ctx, func(w *writer) error {
		began := time.Now()
		defer func() { took = time.Since(began) }()
		return w.transact(func() error { return r.run(w) })
	})
	if err != nil {
		return false, err
	}
	if n := r.last - r.first; n > 0 {
		l.sequenced.Add(n)
		l.sequenceTime.Observe(took)
	}
	l.aside.Note(r.aside)
	l.aside.Tell()
	var kept *handoffPage
	if r.written && l.head.Waited() {
		kept = r.handoff()
	}
	l.handoff.Store(kept)
	l.head.Advance(r.last)
	return r.written, nil
}

// round is what one transaction does.
type round struct {
	batch *groupcommit.Batch

	epoch      string
	written    bool          // the batch is
	drafts     []store.Draft // what was to be written of it
	insertedAt int64         // when
	first      int64         // the log's last offset before
	last       int64         // the log's last offset

	aside []int64 // ids of rows that were set aside instead
}

func (r *round) run(w *writer) error {
	var maxPayload int64
	err := w.query(w.last, nil, func() {
		r.first = w.column64(w.last, 0)
		r.epoch = string(w.column(w.last, 1))
		maxPayload = w.column64(w.last, 2)
	})
	if err != nil {
		return err
	}
	var there, fit, large int64
	err = w.query(w.fit, []any{int64(maxMove), int64(maxMoveBytes), maxPayload}, func() {
		there, fit, large = w.column64(w.fit, 0), w.column64(w.fit, 1), w.column64(w.fit, 2)
	})
	if err != nil {
		return err
	}
	if large > 0 { // first these, and then the others
		r.last = r.first
		r.aside, err = w.setAside(maxPayload)
		return err
	}
	if fit > 0 {
		if _, err := w.exec(w.move, r.first, fit); err != nil {
			return err
		}
		if _, err := w.exec(w.take, fit); err != nil {
			return err
		}
	}
	r.last = r.first + fit
	if r.written = fit == there && there < maxMove; r.written {
		r.insertedAt = time.Now().UnixMicro()
		if err := w.keepRequests(r.batch.Requests, r.insertedAt); err != nil {
			return err
		}
		r.drafts = r.batch.Fresh()
		for i := range r.drafts {
			r.last++
			if err := w.insertDraft(r.last, &r.drafts[i], r.insertedAt); err != nil {
				return err
			}
		}
	}
	return w.list(r.first, r.last)
}
