package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

const (
	// The row of sluice_meta stays locked until the commit: see the migration. A process
	// that hangs meanwhile loses its session, so that others can go on.
	revokeCountSQL = `UPDATE sluice_meta SET revoked = revoked + 1 RETURNING revoked, clock_timestamp(), ` + boundedSQL
	revokeEndedSQL = `DELETE FROM sluice_revocations WHERE until <= $1`
	revokeSQL      = `INSERT INTO sluice_revocations AS r (kind, value, issued_before, until, number) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (kind, value) DO UPDATE SET issued_before = greatest(r.issued_before, excluded.issued_before),
			until = greatest(r.until, excluded.until), number = excluded.number
		RETURNING issued_before, until`
	revokedSQL = `SELECT count(*) FROM sluice_revocations`

	// boundedSQL, an expression, has the server end a transaction in which nothing is asked
	// for 5 s, and the session with it.
	boundedSQL = `set_config('idle_in_transaction_session_timeout', '5000', true)`

	revocationsSQL = `SELECT kind, value, issued_before, until, number FROM sluice_revocations
		WHERE number > $1 AND until > clock_timestamp() ORDER BY number LIMIT $2`
)

// Revoke implements [store.Revocations].
func (l *Log) Revoke(ctx context.Context, r store.Revocation) (store.Revocation, error) {
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) error {
		var number int64
		var now time.Time
		err := tx.QueryRow(ctx, revokeCountSQL).Scan(&number, &now, nil)
		if err != nil {
			return err
		}
		if r, err = r.At(now); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, revokeEndedSQL, now); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, revokeSQL, string(r.Kind), r.Value, r.IssuedBefore, r.Until, number).Scan(&r.IssuedBefore, &r.Until); err != nil {
			return err
		}
		r.IssuedBefore, r.Until, r.Number = r.IssuedBefore.UTC(), r.Until.UTC(), number
		var all int
		if err = tx.QueryRow(ctx, revokedSQL).Scan(&all); err == nil && all > l.maxRevocations {
			err = store.ErrTooManyRevocations
		}
		return err
	})
	invalid := new(store.RevocationError)
	switch {
	case errors.As(err, &invalid), errors.Is(err, store.ErrTooManyRevocations):
		return store.Revocation{}, err
	case err != nil:
		return store.Revocation{}, l.explain(ctx, l.failure(fmt.Sprintf("revoke %s %q", r.Kind, r.Value), err, reads))
	}
	return r, nil
}

// Revocations implements [store.Revocations].
func (l *Log) Revocations(ctx context.Context, after int64, limit int) ([]store.Revocation, error) {
	rows, err := l.pool.Query(ctx, revocationsSQL, after, limit)
	var list []store.Revocation
	if err == nil {
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r store.Revocation, err error) {
			err = row.Scan((*string)(&r.Kind), &r.Value, &r.IssuedBefore, &r.Until, &r.Number)
			r.IssuedBefore, r.Until = r.IssuedBefore.UTC(), r.Until.UTC()
			return r, err
		})
	}
	if err != nil {
		return nil, l.explain(ctx, l.failure("read revocations", err, reads))
	}
	return list, nil
}
