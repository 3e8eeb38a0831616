package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// revocations are rights that a node needs: how they are taken, and given back.
var revocations = [][2]string{
	{`REVOKE DELETE ON sluice_outbox FROM ` + roleName, `GRANT DELETE ON sluice_outbox TO ` + roleName},
	{`REVOKE INSERT ON sluice_log FROM ` + roleName, `GRANT INSERT ON sluice_log TO ` + roleName},
	{`REVOKE SELECT ON SEQUENCE sluice_outbox_id_seq FROM ` + roleName, `GRANT SELECT ON SEQUENCE sluice_outbox_id_seq TO ` + roleName},
	{`REVOKE SELECT ON sluice_meta FROM ` + roleName, `GRANT SELECT ON sluice_meta TO ` + roleName},
}

// applyToDatabase changes what the sequencer finds around it, and sets it right.
func (r *run) applyToDatabase(f fault) error {
	switch f.kind {
	case logLocked:
		return r.direct(func(conn *pgx.Conn) error {
			tx, err := conn.Begin(r.ctx)
			if err != nil {
				return err
			}
			_, err = tx.Exec(r.ctx, `LOCK TABLE sluice_log IN SHARE MODE`)
			if err == nil {
				err = r.watchOutage(f.kind)
			}
			return errors.Join(err, tx.Rollback(context.WithoutCancel(r.ctx)))
		})
	case rightsRevoked:
		rights := revocations[f.whom%uint64(len(revocations))]
		r.tell("%s", rights[0])
		return r.outage(f.kind, rights[0], rights[1])
	case rowsHidden:
		return r.outage(f.kind, `ALTER TABLE sluice_outbox ENABLE ROW LEVEL SECURITY; ALTER TABLE sluice_outbox FORCE ROW LEVEL SECURITY`,
			`ALTER TABLE sluice_outbox NO FORCE ROW LEVEL SECURITY; ALTER TABLE sluice_outbox DISABLE ROW LEVEL SECURITY`)
	case serverReadOnly:
		return r.readOnly(f)
	case notifiesHeld:
		return r.holdNotifies(f)
	case standbyLags:
		return r.lag(f)
	}
	return nil
}

// outage lasts from one statement until the other. A node that starts meanwhile ends with
// what it lacks, as it should: so all have started before.
func (r *run) outage(kind faultKind, take, give string) error {
	for _, node := range r.nodes {
		if err := node.Ready(r.ctx); err != nil {
			return err
		}
	}
	return r.direct(func(conn *pgx.Conn) error {
		if err := patiently(r.ctx, conn, take); err != nil {
			return err
		}
		return errors.Join(r.watchOutage(kind), patiently(r.ctx, conn, give))
	})
}

// readOnly has new transactions of everybody write nothing, and ends those
// sessions that there are: they may have settings of their own.
func (r *run) readOnly(f fault) error {
	return r.direct(func(conn *pgx.Conn) error {
		set := func(to string) error {
			for _, sql := range []string{`ALTER SYSTEM SET default_transaction_read_only = ` + to, `SELECT pg_reload_conf()`} {
				if _, err := conn.Exec(r.ctx, sql); err != nil {
					return err
				}
			}
			return nil
		}
		if err := set("on"); err != nil {
			return err
		}
		_, err := conn.Exec(r.ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(application_name, $1)`, nodesName)
		return errors.Join(err, r.watchOutage(f.kind), set("off"))
	})
}

// Notifications that somebody listens to and does not take, in bytes and number.
const heldNotifies, heldNotify = 4000, 7900

// holdNotifies fills a part of the server's queue of notifications (8 GB; all of
// it would take longer than all the rest), and has somebody listen who takes none
// of them meanwhile. What a full one does, the store's tests have a trigger do.
func (r *run) holdNotifies(f fault) error {
	return r.direct(func(listener *pgx.Conn) error {
		for _, sql := range []string{`LISTEN chaos`, `BEGIN`, `SELECT 1`} {
			if _, err := listener.Exec(r.ctx, sql); err != nil {
				return err
			}
		}
		err := r.direct(func(conn *pgx.Conn) error {
			for range heldNotifies / 100 {
				if _, err := conn.Exec(r.ctx, `SELECT pg_notify('chaos', n || repeat('x', $1)) FROM generate_series(1, 100) AS n`, heldNotify); err != nil {
					r.tell("the queue of notifications takes no more: %v", err)
					return nil // that is what it is for
				}
			}
			return nil
		})
		if err == nil {
			err = r.watchOutage(f.kind)
		}
		_, ending := listener.Exec(r.ctx, `ROLLBACK`)
		return errors.Join(err, ending)
	})
}

// lag has the standby replay nothing, while the primary lets nobody in for a
// moment and clients come back: who follows the URL finds the standby.
func (r *run) lag(f fault) error {
	replay := func(sql string) error {
		conn, err := pgx.Connect(r.ctx, r.server.StandbyURL())
		if err != nil {
			return err
		}
		_, err = conn.Exec(r.ctx, sql)
		return errors.Join(err, conn.Close(context.WithoutCancel(r.ctx)))
	}
	if err := replay(`SELECT pg_wal_replay_pause()`); err != nil {
		return err
	}
	at := r.committed.Load() + 200 // that the standby does not show
	for late := time.Now().Add(retention); r.committed.Load() < at && time.Now().Before(late); {
		pause(r.ctx, nil, lookEvery)
	}
	each(r.nodeRelays, (*relay).refuse)
	r.someClients(f.whom, (*client).cut)
	pause(r.ctx, nil, f.lasts)
	each(r.nodeRelays, (*relay).admit)
	r.someClients(f.whom+1, (*client).cut)
	pause(r.ctx, nil, f.lasts)
	return replay(`SELECT pg_wal_replay_resume()`)
}

// removeByHand removes what the log keeps, all of it or its first half.
func (r *run) removeByHand(f fault) error {
	return r.direct(func(conn *pgx.Conn) error {
		if r.removed.IsZero() {
			r.removed = time.Now()
		}
		if f.kind == logEmptied {
			return patiently(r.ctx, conn, `TRUNCATE sluice_log`)
		}
		_, err := conn.Exec(r.ctx, `DELETE FROM sluice_log WHERE "offset" <= (SELECT (min("offset") + max("offset")) / 2 FROM sluice_log)`)
		return err
	})
}

// beyondRetention is certainly longer than the log is kept.
const beyondRetention = retention*3/2 + time.Second

// leaveBehind stops a node that does not sequence until what it has not read
// is trimmed.
func (r *run) leaveBehind(whom uint64) error {
	if r.Embedded { // it is the one that sequences
		err := r.nodes[0].Hang()
		pause(r.ctx, nil, beyondRetention)
		return errors.Join(err, r.nodes[0].Continue())
	}
	leads, err := r.leader()
	if err != nil {
		return err
	}
	i := int(whom % uint64(len(r.nodes)))
	if i == leads {
		i = (i + 1) % len(r.nodes)
	}
	err = r.nodes[i].Hang()
	pause(r.ctx, nil, beyondRetention)
	return errors.Join(err, r.nodes[i].Continue())
}

// mustTell is how long nothing may be sequenced before a node has to say that
// it is not ready.
const mustTell = 10 * time.Second

// watchOutage lets a fault last, and sees whether nodes tell of it: if rows that
// are committed have not been sequenced for long, none may say that it is ready.
func (r *run) watchOutage(kind faultKind) error {
	return r.direct(func(conn *pgx.Conn) error {
		begun := time.Now()
		moved, seen := begun, int64(-1)
		waiting := int64(0)
		for time.Since(begun) < r.Outage && r.ctx.Err() == nil {
			var sequenced int64
			if err := conn.QueryRow(r.ctx, `SELECT (SELECT coalesce(max(entry), 0) FROM chaos_log), (SELECT count(*) FROM sluice_outbox)`).
				Scan(&sequenced, &waiting); err != nil {
				return fmt.Errorf("watch an outage: %w", err)
			}
			if sequenced > seen || waiting == 0 {
				seen, moved = sequenced, time.Now()
			}
			pause(r.ctx, nil, 10*lookEvery)
		}
		if time.Since(moved) < mustTell {
			r.tell("%s: rows were sequenced all the while, but for %v", kind, time.Since(moved).Round(time.Millisecond))
			return nil
		}
		for _, node := range r.nodes {
			answer, err := node.Get(r.ctx, "/readyz")
			switch {
			case err == nil:
				r.broken = append(r.broken, fmt.Sprintf("%s: node %s says that it is ready though nothing was sequenced for %v: %s",
					kind, node.Name(), time.Since(moved).Round(time.Second), answer))
			case strings.Contains(err.Error(), "503"):
				r.unready++
			}
			r.tell("%s: whether %s is ready: %s%v", kind, node.Name(), answer, err)
		}
		return nil
	})
}
