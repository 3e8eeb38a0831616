package target

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Inserter inserts rows into the outbox, as an application does: one alone in a
// statement of its own, many by COPY.
type Inserter struct {
	conn   *pgx.Conn
	load   swarm.Load
	prefix string

	payload []byte // reused
}

func NewInserter(ctx context.Context, database string, load swarm.Load, prefix string) (*Inserter, error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("connect to insert: %w", err)
	}
	return &Inserter{conn: conn, load: load, prefix: prefix}, nil
}

// Publish implements [swarm.Publisher].
func (i *Inserter) Publish(ctx context.Context, events []swarm.Event) error {
	if len(events) == 1 {
		return i.one(ctx, events[0])
	}
	_, err := i.conn.CopyFrom(ctx, pgx.Identifier{"sluice_outbox"}, []string{"topic", "event", "payload"},
		pgx.CopyFromSlice(len(events), func(n int) ([]any, error) {
			return []any{i.topic(events[n].Topic), swarm.EventName, i.load.AppendPayload(nil, events[n])}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy %d rows: %w", len(events), err)
	}
	return nil
}

func (i *Inserter) one(ctx context.Context, e swarm.Event) error {
	i.payload = i.load.AppendPayload(i.payload[:0], e)
	_, err := i.conn.Exec(ctx, `INSERT INTO sluice_outbox (topic, event, payload) VALUES ($1, $2, $3)`,
		i.topic(e.Topic), swarm.EventName, i.payload)
	if err != nil {
		return fmt.Errorf("insert a row: %w", err)
	}
	return nil
}

func (i *Inserter) topic(topic int) string { return i.prefix + strconv.Itoa(topic) }

// Close implements [swarm.Publisher].
func (i *Inserter) Close() error { return i.conn.Close(context.Background()) }

// lockSQL waits for the lock that sluice_sequence tries to take.
const lockSQL = `SELECT pg_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer)`

// Backlog inserts so many events, which appear all at once: in the log where
// sequenced, else in the outbox. inserted is called when they are there but for
// the commit.
func (i *Inserter) Backlog(ctx context.Context, events int64, sequenced bool, inserted func()) (err error) {
	tx, err := i.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("insert %d rows: %w", events, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // of no effect after the commit
	next := int64(-1)
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"sluice_outbox"}, []string{"topic", "event", "payload"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if next++; next == events {
				return nil, nil
			}
			e := i.load.Event(next, 0)
			return []any{i.topic(e.Topic), swarm.EventName, i.load.AppendPayload(nil, e)}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy %d rows: %w", events, err)
	}
	if sequenced {
		if err := sequence(ctx, tx, events); err != nil {
			return err
		}
	}
	inserted()
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit %d rows: %w", events, err)
	}
	return nil
}

// sequence does what the sequencer does, within a transaction: the rows appear
// in the log at its commit. Its lock is the server's at times.
func sequence(ctx context.Context, tx pgx.Tx, events int64) error {
	if _, err := tx.Exec(ctx, lockSQL); err != nil {
		return fmt.Errorf("wait for the sequencer: %w", err)
	}
	for left := events; left > 0; {
		var moved int64
		if err := tx.QueryRow(ctx, `SELECT moved FROM sluice_sequence($1, 0)`, left).Scan(&moved); err != nil {
			return fmt.Errorf("sequence %d rows: %w", left, err)
		}
		if moved == 0 { // the log's last partition is full
			if _, err := tx.Exec(ctx, `SELECT sluice_extend_log()`); err != nil {
				return fmt.Errorf("extend the log: %w", err)
			}
		}
		left -= moved
	}
	return nil
}
