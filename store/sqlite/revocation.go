package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

const (
	revokeEndedSQL = `DELETE FROM sluice_revocations WHERE until <= ?`
	revokeCountSQL = `UPDATE sluice_meta SET revoked = revoked + 1 RETURNING revoked`
	revokeSQL      = `INSERT INTO sluice_revocations (kind, value, issued_before, until, number) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (kind, value) DO UPDATE SET issued_before = max(issued_before, excluded.issued_before),
			until = max(until, excluded.until), number = excluded.number
		RETURNING issued_before, until`

	revocationsSQL = `SELECT kind, value, issued_before, until, number FROM sluice_revocations
		WHERE number > ? AND until > ? ORDER BY number LIMIT ?`
)

// Revoke implements [store.Revocations].
func (l *Log) Revoke(ctx context.Context, r store.Revocation) (store.Revocation, error) {
	r, err := r.At(time.Now())
	if err != nil {
		return store.Revocation{}, err
	}
	err = l.borrowWriter(ctx, func(*writer) (err error) {
		r, err = l.revoke(ctx, r)
		return err
	})
	switch {
	case errors.Is(err, store.ErrTooManyRevocations):
		return store.Revocation{}, err
	case err != nil:
		return store.Revocation{}, l.failure(fmt.Sprintf("revoke %s %q", r.Kind, r.Value), err)
	}
	return r, nil
}

func (l *Log) revoke(ctx context.Context, r store.Revocation) (store.Revocation, error) {
	tx, err := l.queries.BeginTx(ctx, nil)
	if err != nil {
		return r, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, revokeCountSQL).Scan(&r.Number); err != nil {
		return r, err
	}
	if _, err := tx.ExecContext(ctx, revokeEndedSQL, time.Now().UnixMicro()); err != nil {
		return r, err
	}
	var before, until int64
	if err := tx.QueryRowContext(ctx, revokeSQL, string(r.Kind), r.Value, r.IssuedBefore.UnixMicro(), r.Until.UnixMicro(), r.Number).Scan(&before, &until); err != nil {
		return r, err
	}
	r.IssuedBefore, r.Until = time.UnixMicro(before).UTC(), time.UnixMicro(until).UTC()
	var all int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sluice_revocations`).Scan(&all); err != nil {
		return r, err
	}
	if all > l.maxRevocations {
		return r, store.ErrTooManyRevocations
	}
	return r, tx.Commit()
}

// Revocations implements [store.Revocations].
func (l *Log) Revocations(ctx context.Context, after int64, limit int) (list []store.Revocation, err error) {
	rows, err := l.queries.QueryContext(ctx, revocationsSQL, after, time.Now().UnixMicro(), limit)
	if err != nil {
		return nil, l.failure("read revocations", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r store.Revocation
		var before, until int64
		if err := rows.Scan((*string)(&r.Kind), &r.Value, &before, &until, &r.Number); err != nil {
			return nil, l.failure("read revocations", err)
		}
		r.IssuedBefore, r.Until = time.UnixMicro(before).UTC(), time.UnixMicro(until).UTC()
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, l.failure("read revocations", err)
	}
	return list, nil
}
