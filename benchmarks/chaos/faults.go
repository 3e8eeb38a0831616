package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/report"
)

// standstill is how long nothing may be committed before the run gives up: the
// writers, and not the service, have lost their database. It is far beyond what any
// fault lasts: on a machine that has much else to do, whoever waits for the lock of a
// file that others take in turns gets it by chance.
const standstill = 10 * time.Minute

// inject has faults strike until it is time, or have applied.
func (r *run) inject(progress report.Progress) error {
	late := r.latecomers()
	at := r.committed.Load()
	for n := 0; r.Faults <= 0 || n < r.Faults; n++ {
		f := r.plan.next()
		at += f.after
		timely, err := r.await(at, progress)
		if err != nil {
			return err
		}
		if !timely {
			break
		}
		r.tell("%s, for %v", f.kind, f.lasts.Round(time.Millisecond))
		if err := r.apply(f); err != nil {
			return fmt.Errorf("%s: %w", f.kind, err)
		}
		r.applied[f.kind]++
		late()
		if r.Faults > 0 {
			progress.Tell("faults", int64(n+1), int64(r.Faults))
		}
		at = r.committed.Load()
	}
	for range r.clients {
		late() // those that nothing has called yet
	}
	return nil
}

// tell notes in the log what is happening.
func (r *run) tell(format string, values ...any) {
	fmt.Fprintf(r.log, "chaos %7.3fs %d events: %s\n", time.Since(r.began).Seconds(), r.committed.Load(), fmt.Sprintf(format, values...))
}

// latecomers has one of the late clients come with each call.
func (r *run) latecomers() func() {
	next := 0
	return func() {
		for next < len(r.clients) {
			c := r.clients[next]
			next++
			if c.profile == lateProfile {
				r.reading.Go(func() { c.run(r.ctx) })
				return
			}
		}
	}
}

// await waits until so many events have been committed; false when the time
// is up before.
func (r *run) await(events int64, progress report.Progress) (timely bool, err error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		now := time.Now()
		committed := r.committed.Load()
		if committed > seen {
			seen, moved = committed, now
		}
		elapsed := now.Sub(r.began)
		if r.For > 0 {
			progress.Tell("seconds", int64(min(elapsed, r.For).Seconds()), int64(r.For.Seconds()))
		}
		switch {
		case r.For > 0 && elapsed >= r.For:
			return false, nil
		case committed >= events:
			return true, nil
		case now.Sub(moved) > standstill:
			return false, fmt.Errorf("benchmarks: nothing was committed for %v", standstill)
		}
		for _, node := range r.nodes {
			if !node.Running() {
				return false, fmt.Errorf("benchmarks: node %s has ended by itself: %s", node.Name(), node.LastLine())
			}
		}
		select {
		case <-look.C:
		case <-r.ctx.Done():
			return false, context.Cause(r.ctx)
		}
	}
}

// apply has a fault happen, for as long as it lasts.
func (r *run) apply(f fault) error {
	node := r.nodes[f.whom%uint64(len(r.nodes))]
	nodeRelays := r.someNodeRelays(f.whom)
	// What lasts is halfway seen by clients that connect anew, to a node that
	// is behind perhaps.
	last := func() {
		pause(r.ctx, nil, f.lasts/2)
		r.someClients(f.whom, (*client).cut)
		pause(r.ctx, nil, f.lasts/2)
	}
	if r.Embedded && !slices.Contains(nodeAndClientFaults, f.kind) {
		return r.applyToFile(f, last)
	}
	switch f.kind {
	case nodeKilled:
		err := node.Kill()
		last()
		return errors.Join(err, node.Start())
	case nodeRestarted:
		if err := node.Stop(); err != nil && !node.hasty {
			r.broken = append(r.broken, err.Error())
		}
		return node.Start()
	case nodeHung:
		err := node.Hang()
		last()
		return errors.Join(err, node.Continue())
	case databaseCut:
		each(nodeRelays, (*relay).cut)
	case databaseStalled:
		each(nodeRelays, (*relay).stall)
		last()
		each(nodeRelays, (*relay).resume)
	case databaseRefused:
		each(nodeRelays, (*relay).refuse)
		last()
		each(nodeRelays, (*relay).admit)
	case backendTerminated:
		return r.terminate(f.whom)
	case snapshotHeld:
		return r.holdSnapshot(last)
	case writersCut:
		r.writerRelay.cut()
	case clientsCut:
		r.someClients(f.whom, (*client).cut)
	case clientsStalled:
		r.someClients(f.whom, func(c *client) { c.idle(stallLonger * f.lasts) })
	case databaseKilled, databaseRestarted:
		take := r.server.Kill
		if f.kind == databaseRestarted {
			take = r.server.Stop
		}
		err := take()
		last()
		return errors.Join(err, r.server.Start())
	case databaseFailsOver:
		return r.failOver(last)
	case nodeLeftBehind:
		return r.leaveBehind(f.whom)
	case clientsAway:
		r.someClients(f.whom, func(c *client) { c.leave(beyondRetention) })
		pause(r.ctx, nil, beyondRetention)
	case clientsReturn:
		for _, c := range r.clients {
			c.cut()
		}
	case logEmptied, logShortened:
		return r.removeByHand(f)
	case rowsLarge, rowsMany, rowsSlow, rowsLocked, rowsChanged, idsCached:
		return r.applyToRows(f)
	case busCut, busStalled, busAway, nodeAlone, nodesRolled, leadersKilled, leaderHung:
		return r.applyToCluster(f, last)
	case logLocked, rightsRevoked, rowsHidden, serverReadOnly, notifiesHeld, standbyLags:
		return r.applyToDatabase(f)
	default:
		panic("benchmarks: a fault of no kind: " + string(f.kind))
	}
	return nil
}

// failOver loses the server of the database, and has its standby take over,
// which everybody is led to after a while.
func (r *run) failOver(last func()) error {
	err := r.server.Promote()
	last()
	if err == nil {
		err = r.follow()
	}
	if err == nil {
		err = r.server.Mirror()
	}
	if err != nil {
		return err
	}
	address, err := hostPort(r.server.StandbyURL())
	for _, standbyRelay := range r.standbyRelays {
		standbyRelay.redirect(address)
	}
	return err
}

// follow leads everybody to where the database is now.
func (r *run) follow() (err error) {
	address, err := hostPort(r.server.URL())
	if err == nil {
		r.database, err = by(r.database, address)
	}
	if err != nil {
		return err
	}
	for _, one := range append(r.nodeRelays[:len(r.nodeRelays):len(r.nodeRelays)], r.writerRelay) {
		one.redirect(address)
	}
	for _, one := range r.standbyRelays { // to nowhere: the standby is to be made first
		one.redirect("")
	}
	return nil
}

// someNodeRelays are the nodeRelays of one node, or of all.
func (r *run) someNodeRelays(whom uint64) []*relay {
	if whom%2 == 0 || len(r.nodeRelays) == 0 { // the embedded store has none
		return r.nodeRelays
	}
	one := whom / 2 % uint64(len(r.nodeRelays))
	return r.nodeRelays[one : one+1]
}

func each(nodeRelays []*relay, do func(*relay)) {
	for _, nodeRelay := range nodeRelays {
		do(nodeRelay)
	}
}

// someClients does something to a third of the clients.
func (r *run) someClients(whom uint64, do func(*client)) {
	random := rand.New(rand.NewPCG(whom, 0))
	for _, i := range random.Perm(len(r.clients))[:(len(r.clients)+2)/3] {
		do(r.clients[i])
	}
}

// direct runs statements on a connection that no fault strikes.
func (r *run) direct(do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(r.ctx, r.database)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(context.WithoutCancel(r.ctx)))
}

// terminate ends one of the nodes' backends, if there is one just now.
func (r *run) terminate(whom uint64) error {
	return r.direct(func(conn *pgx.Conn) error {
		_, err := conn.Exec(r.ctx, `SELECT pg_terminate_backend(pid) FROM (
			SELECT pid, row_number() OVER (ORDER BY backend_start) - 1 AS place, count(*) OVER () AS all
			FROM pg_stat_activity WHERE starts_with(application_name, $1)) AS backends WHERE place = $2 % "all"`, nodesName, int64(whom>>1))
		return err
	})
}

// holdSnapshot keeps rows that are dead from being removed.
func (r *run) holdSnapshot(last func()) error {
	return r.direct(func(conn *pgx.Conn) error {
		tx, err := conn.BeginTx(r.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			return err
		}
		_, err = tx.Exec(r.ctx, `SELECT count(*) FROM sluice_outbox`)
		last()
		return errors.Join(err, tx.Rollback(context.WithoutCancel(r.ctx)))
	})
}
