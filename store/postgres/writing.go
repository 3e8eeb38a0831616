package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

// write is a kind of what this node writes by itself, beside rounds.
type write int

const (
	appending  write = iota // for its clients and by its API
	committing              // its position
	renewing                // the lease of its name
	numWrites
)

func (w write) String() string {
	return [...]string{"append to the outbox", "commit a position", "renew a lease"}[w]
}

// For how long writes of a kind may fail, one after the other, and one of them take,
// before the store counts as one that takes none.
const (
	maxFailing = 2 * time.Second
	maxWriting = 2500 * time.Millisecond
)

// writing is what becomes of this node's own writes.
type writing struct {
	mu sync.Mutex
	// Guarded by mu.
	kinds [numWrites]struct {
		begun   time.Time // the one that is under way; zero if none is
		failing time.Time // when the first of those began that have failed since one has not; zero if the last has not
		cause   error     // why the last has
	}
}

// begin notes that a write begins. Its end is to be told what has come of it, and
// returns that.
func (w *writing) begin(kind write) (end func(error) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, now := &w.kinds[kind], time.Now()
	k.begun = now
	return func(err error) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		k.begun = time.Time{}
		switch {
		case err == nil:
			k.failing, k.cause = time.Time{}, nil
		case ofData(err):
		default:
			if k.failing.IsZero() {
				k.failing = now
			}
			k.cause = err
		}
		return err
	}
}

// ofData tells whether an error says nothing of whether the store takes writes: it is of
// the data, as a trigger of the application's may see it, or the caller's doing.
func ofData(err error) bool {
	invalid, held, refusal := new(store.InvalidError), new(store.HeldError), new(pgconn.PgError)
	switch {
	case errors.As(err, &invalid), errors.As(err, &held), errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed):
		return true
	case !errors.As(err, &refusal):
		return false
	}
	// "42": a right, a table or a function is missing; "XX": the server, or a file of its, is broken.
	return !passes(refusal) && class(refusal) != "42" && class(refusal) != "XX"
}

// fails returns why writes of a kind fail, if the last has.
func (w *writing) fails(kind write) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kinds[kind].cause
}

// stuck says which write fails for too long, or takes too long.
func (w *writing) stuck() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for kind := range numWrites {
		k := &w.kinds[kind]
		if kind == appending {
			continue // probe tells, and many rows may take long
		}
		if !k.begun.IsZero() && now.Sub(k.begun) >= maxWriting {
			return fmt.Errorf("postgres: %v: no answer for %v: %w", kind, now.Sub(k.begun).Round(time.Second), context.DeadlineExceeded)
		}
		if !k.failing.IsZero() && now.Sub(k.failing) >= maxFailing {
			return k.cause
		}
	}
	return nil
}

// writable says why the store does not take this node's writes, if it does not. Positions
// and leases are written again and again. Of events nobody may have one to append until the node
// is ready: an attempt that leaves nothing behind tells whether one would be taken. A trigger of
// the application's that refuses the attempt itself could do so since the store took it.
func (l *Log) writable(ctx context.Context) error {
	if l.writing.fails(appending) != nil {
		if err := l.writing.begin(appending)(l.probe(ctx)); err != nil && !ofData(err) {
			return err
		}
	}
	return l.writing.stuck()
}

// probe appends an event, and takes it back.
func (l *Log) probe(ctx context.Context) error {
	tx, err := l.pool.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `INSERT INTO sluice_outbox (topic, event) VALUES ('probe', 'probe')`)
		_ = tx.Rollback(ctx) // else the connection is closed, and the server does it
	}
	if err != nil {
		return l.failure("append", err, reads)
	}
	return nil
}

// vetPause is how often a log that runs looks whether all rights are still there.
const vetPause = 5 * time.Second

// vetting is which rights are missing.
type vetting struct {
	mu sync.Mutex
	// Guarded by mu.
	next time.Time // when to look again
	lack error     // what was missing then
}

// vet names all rights that this user does not have any more. While some are missing, it
// looks each time.
func (l *Log) vet(ctx context.Context) error {
	v := &l.vetting
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lack == nil && time.Now().Before(v.next) {
		return nil
	}
	var list []string
	err := pgx.BeginFunc(ctx, l.pool, func(tx pgx.Tx) (err error) { // one, and not as many as there are questions
		list, err = l.server.remedies(ctx, tx)
		return err
	})
	if err != nil {
		return nil // what else is asked of the database says so
	}
	v.next, v.lack = time.Now().Add(vetPause), nil
	if len(list) > 0 {
		v.lack = fmt.Errorf("postgres: user %q at %s lacks rights: as the owner of the tables run sluice migrate --grant-to with this user, or: %s",
			l.server.pool.ConnConfig.User, l.server.addr, strings.Join(list, "; "))
	}
	return v.lack
}
