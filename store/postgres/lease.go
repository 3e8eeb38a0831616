package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// Times are read once the row is locked: who had to wait for that gets a whole term.
const acquireSQL = `INSERT INTO sluice_leases AS l (name, holder, until) VALUES ($1, $2, clock_timestamp() + $3::interval)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = greatest(l.fence + 1, excluded.fence), since = clock_timestamp(), until = clock_timestamp() + $3::interval
	WHERE l.holder IN ('', excluded.holder) OR l.until <= clock_timestamp() OR l.fence = $4 AND l.until = $5
	RETURNING fence, since`

// The greater fence is right: a server that has a lower one was put back to before
// the lease was acquired.
const renewSQL = `INSERT INTO sluice_leases AS l (name, holder, fence, since, until) VALUES ($1, $2, $3, $4, clock_timestamp() + $5::interval)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = excluded.fence, since = excluded.since, until = clock_timestamp() + $5::interval
	WHERE l.fence < excluded.fence OR l.fence = excluded.fence AND l.holder = excluded.holder`

const releaseSQL = `UPDATE sluice_leases SET holder = '', fence = fence + 1, until = clock_timestamp() WHERE name = $1 AND holder = $2 AND fence = $3`

const leaseSQL = `SELECT holder, fence, since, until, extract(epoch FROM until - clock_timestamp())::float8 FROM sluice_leases WHERE name = $1`

const heldSQL = `SELECT name FROM sluice_leases WHERE starts_with(name, $1) AND holder <> '' AND until > clock_timestamp() ORDER BY name COLLATE "C"`

// Acquire implements [store.Leases].
func (l *Log) Acquire(ctx context.Context, claim store.Claim) (store.Lease, error) {
	lease := store.Lease{Name: claim.Name, Holder: claim.Holder, Term: claim.Term}
	var fence int64 // of what is over; 0 is nobody's
	var until time.Time
	if claim.Over != nil {
		fence, until = claim.Over.Fence, claim.Over.Until
	}
	for {
		err := l.pool.QueryRow(ctx, acquireSQL, claim.Name, claim.Holder, claim.Term, fence, until).Scan(&lease.Fence, &lease.Since)
		if err == nil {
			return lease, nil
		}
		var held *store.HeldError
		if errors.Is(err, pgx.ErrNoRows) {
			held, err = l.holder(ctx, claim.Name)
		}
		if err != nil {
			return store.Lease{}, l.leaseFailure(ctx, "acquire", claim.Name, err)
		}
		if held != nil && held.Holder != "" && held.Left > 0 { // or it has become free in between
			return store.Lease{}, held
		}
	}
}

// Renew implements [store.Leases].
func (l *Log) Renew(ctx context.Context, lease store.Lease) error {
	end := l.writing.begin(renewing)
	return end(l.renew(ctx, lease))
}

func (l *Log) renew(ctx context.Context, lease store.Lease) error {
	for {
		tag, err := l.pool.Exec(ctx, renewSQL, lease.Name, lease.Holder, lease.Fence, lease.Since, lease.Term)
		if err == nil && tag.RowsAffected() > 0 {
			return nil
		}
		var held *store.HeldError
		if err == nil {
			held, err = l.holder(ctx, lease.Name)
		}
		if err != nil {
			return l.leaseFailure(ctx, "renew", lease.Name, err)
		}
		if held != nil {
			return held
		}
	}
}

// Release implements [store.Leases].
func (l *Log) Release(ctx context.Context, lease store.Lease) error {
	if _, err := l.pool.Exec(ctx, releaseSQL, lease.Name, lease.Holder, lease.Fence); err != nil {
		return l.leaseFailure(ctx, "release", lease.Name, err)
	}
	return nil
}

// Held implements [store.Leases].
func (l *Log) Held(ctx context.Context, prefix string) ([]string, error) {
	rows, err := l.pool.Query(ctx, heldSQL, prefix)
	var names []string
	if err == nil {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	if err != nil {
		return nil, l.explain(ctx, l.failure(fmt.Sprintf("list leases %q", prefix), err, reads))
	}
	return names, nil
}

// holder is who has a lease, nil if nobody ever had.
func (l *Log) holder(ctx context.Context, name string) (*store.HeldError, error) {
	held := store.HeldError{Name: name}
	var left float64 // seconds
	err := l.pool.QueryRow(ctx, leaseSQL, name).Scan(&held.Holder, &held.Fence, &held.Since, &held.Until, &left)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	held.Left = time.Duration(left * float64(time.Second))
	return &held, err
}

// leaseFailure is that of a statement which may be made again.
func (l *Log) leaseFailure(ctx context.Context, verb, name string, err error) error {
	return l.explain(ctx, l.failure(fmt.Sprintf("%s lease %q", verb, name), err, reads))
}
