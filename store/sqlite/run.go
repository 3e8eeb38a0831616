package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"
)

// Run implements [store.Log]. An error says that it runs already.
func (l *Log) Run(ctx context.Context) error {
	if l.running.Swap(true) {
		return errors.New("sqlite: Run is running already")
	}
	defer l.running.Store(false)
	l.outbox.lead(time.Now().UTC())
	defer l.outbox.lead(time.Time{})

	var trimmer sync.WaitGroup
	defer trimmer.Wait()
	if l.retention > 0 {
		trimmer.Go(func() { l.trimRegularly(ctx) })
	}
	poll := time.NewTicker(l.poll)
	defer poll.Stop()
	for {
		err := l.watch(ctx, poll.C, l.trouble.end)
		if ctx.Err() != nil {
			return nil
		}
		l.failures.Add(1)
		l.trouble.begin(l.failure("sequence events", err))
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
}

// watch drains the outbox whenever some other connection, of this process or
// another, has committed. It ends with ctx or the first failure, and calls
// healthy after each look without one.
func (l *Log) watch(ctx context.Context, poll <-chan time.Time, healthy func()) error {
	// The counter is a connection's own view: it must be the same one each time.
	conn, err := l.queries.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	seen := int64(-1)
	for {
		var version int64
		if err := conn.QueryRowContext(ctx, `PRAGMA data_version`).Scan(&version); err != nil {
			return err
		}
		if version != seen {
			if err := l.look(ctx, conn); err != nil {
				return err
			}
			seen = version
		}
		healthy()
		l.aside.Tell()
		select {
		case <-ctx.Done():
			return nil
		case <-poll:
		}
	}
}

const lookSQL = `SELECT EXISTS (SELECT 1 FROM sluice_outbox), coalesce((SELECT max("offset") FROM sluice_log), 0)`

func (l *Log) look(ctx context.Context, conn *sql.Conn) error {
	var waiting bool
	var last int64
	if err := conn.QueryRowContext(ctx, lookSQL).Scan(&waiting, &last); err != nil {
		return err
	}
	l.handoff.Store(nil) // who committed may have trimmed the log, or begun an epoch
	l.head.Advance(last)
	if !waiting {
		return nil
	}
	return l.drain(context.WithoutCancel(ctx)) // bounded by the lock's timeout
}
