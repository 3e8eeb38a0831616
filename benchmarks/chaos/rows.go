package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

const (
	largeRows = 40
	manyRows  = 3000
	slowRows  = 400 // each of which takes slowRow to come into the log: more than a round has
	slowRow   = 50 * time.Millisecond
)

// applyToRows has rows come that are hard to move, or changes them meanwhile.
func (r *run) applyToRows(f fault) error {
	topic := int(f.whom % uint64(len(r.topics)))
	return r.direct(func(conn *pgx.Conn) error {
		switch f.kind {
		case rowsLarge:
			return r.bulk.insert(r.ctx, postgresConn{conn}, topic, largeRows, maxPayload-256)
		case rowsMany:
			return r.bulk.insert(r.ctx, postgresConn{conn}, topic, manyRows, 16)
		case rowsSlow:
			return r.slowDown(conn, topic)
		case rowsLocked, rowsChanged:
			return r.holdRow(conn, f)
		case idsCached:
			return r.cacheIDs(conn)
		}
		return nil
	})
}

// insert writes rows of one topic in one transaction.
func (w *writer) insert(ctx context.Context, conn outboxConn, topic, rows, padding int) error {
	pad := strings.Repeat("x", padding)
	first := w.next[topic]
	w.next[topic] += int64(rows)
	inserts := make([]outboxRow, 0, rows)
	for n := first; n < w.next[topic]; n++ {
		inserts = append(inserts, outboxRow{w.topics[topic], swarm.EventName, fmt.Sprintf(`{"w":%d,"n":%d,"pad":"%s"}`, w.id, n, pad)})
	}
	tx, err := conn.begin(ctx, inserts)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // of no effect after the commit
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	for n := first; n < w.next[topic]; n++ {
		w.known[topic].add(n)
	}
	w.committed.Add(int64(rows))
	return nil
}

// slowDown has each row take its time on its way into the log.
func (r *run) slowDown(conn *pgx.Conn, topic int) error {
	pace := func(d time.Duration) string {
		return fmt.Sprintf(`CREATE OR REPLACE FUNCTION chaos_slow() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN PERFORM pg_sleep(%v); RETURN NEW; END $$`, d.Seconds())
	}
	if err := patiently(r.ctx, conn, pace(slowRow)+`;
		CREATE TRIGGER chaos_slow BEFORE INSERT ON sluice_log FOR EACH ROW EXECUTE FUNCTION chaos_slow()`); err != nil {
		return err
	}
	err := r.bulk.insert(r.ctx, postgresConn{conn}, topic, slowRows, 16)
	if err == nil {
		err = r.watchOutage(rowsSlow)
	}
	// A round that is slow holds the table, and the next one after it.
	return errors.Join(err, patiently(r.ctx, conn, pace(0)), patiently(r.ctx, conn, `DROP TRIGGER chaos_slow ON sluice_log`))
}

// holdRow locks a row of the outbox, or changes it, for as long as the fault
// lasts. A row is there for a moment only: it is waited for.
func (r *run) holdRow(conn *pgx.Conn, f fault) error {
	take := `SELECT id FROM sluice_outbox ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED`
	if f.kind == rowsChanged {
		take = `UPDATE sluice_outbox SET key = 'changed' WHERE id IN (SELECT id FROM sluice_outbox ORDER BY id DESC LIMIT 3 FOR UPDATE SKIP LOCKED) RETURNING id`
	}
	late := time.Now().Add(patience)
	for time.Now().Before(late) && r.ctx.Err() == nil {
		tx, err := conn.Begin(r.ctx)
		if err != nil {
			return err
		}
		rows, err := tx.Query(r.ctx, take)
		var ids []int64
		if err == nil {
			ids, err = pgx.CollectRows(rows, pgx.RowTo[int64])
		}
		if err == nil && len(ids) > 0 {
			pause(r.ctx, nil, f.lasts)
		}
		if err = errors.Join(err, tx.Commit(r.ctx)); err != nil || len(ids) > 0 {
			return err
		}
	}
	return nil
}

// cacheIDs has sessions draw ids from caches of their own, which nodes find when
// they start: they heal it, or refuse. Nobody writes meanwhile, as what was drawn
// before cannot be healed.
func (r *run) cacheIDs(conn *pgx.Conn) error {
	r.writerRelay.refuse()
	defer r.writerRelay.admit()
	for _, node := range r.nodes {
		if err := node.Stop(); err != nil && !node.hasty {
			r.broken = append(r.broken, err.Error())
		}
	}
	if err := patiently(r.ctx, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 50`); err != nil {
		return err
	}
	for _, node := range r.nodes {
		if err := node.Start(); err != nil {
			return err
		}
	}
	for _, node := range r.nodes {
		if err := node.Ready(r.ctx); err != nil {
			return err
		}
	}
	return nil
}

// patiently runs statements that want a table for themselves, which everybody
// else waits behind: so it gives up soon, and is tried again.
func patiently(ctx context.Context, conn *pgx.Conn, sql string) (err error) {
	for late := time.Now().Add(standstill); time.Now().Before(late); {
		if _, err = conn.Exec(ctx, `SET lock_timeout = '1s'; `+sql+`; SET lock_timeout = 0`); err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, nil, lookEvery)
	}
	return err
}
