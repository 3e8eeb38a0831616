package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/report"
)

// standstill is how long nothing may be committed before the run gives up: the
// writers, and not the service, have lost their database.
const standstill = 2 * time.Minute

// rage has faults strike until it is time, or have struck.
func (s *storm) rage(progress report.Progress) error {
	late := s.latecomers()
	at := s.committed.Load()
	for n := 0; s.Faults <= 0 || n < s.Faults; n++ {
		f := s.plan.next()
		at += f.after
		timely, err := s.await(at, progress)
		if err != nil {
			return err
		}
		if !timely {
			break
		}
		s.tell("%s, for %v", f.kind, f.lasts.Round(time.Millisecond))
		if err := s.strike(f); err != nil {
			return fmt.Errorf("%s: %w", f.kind, err)
		}
		s.struck[f.kind]++
		late()
		if s.Faults > 0 {
			progress.Tell("faults", int64(n+1), int64(s.Faults))
		}
		at = s.committed.Load()
	}
	for range s.clients {
		late() // those that nothing has called yet
	}
	return nil
}

// tell notes in the log what is happening.
func (s *storm) tell(format string, values ...any) {
	fmt.Fprintf(s.log, "chaos %7.3fs %d events: %s\n", time.Since(s.began).Seconds(), s.committed.Load(), fmt.Sprintf(format, values...))
}

// latecomers has one of the late clients come with each call.
func (s *storm) latecomers() func() {
	next := 0
	return func() {
		for next < len(s.clients) {
			c := s.clients[next]
			next++
			if c.temper == lateTemper {
				s.reading.Go(func() { c.run(s.ctx) })
				return
			}
		}
	}
}

// await waits until so many events have been committed; false when the time
// is up before.
func (s *storm) await(events int64, progress report.Progress) (timely bool, err error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	seen, moved := int64(-1), time.Now()
	for {
		now := time.Now()
		committed := s.committed.Load()
		if committed > seen {
			seen, moved = committed, now
		}
		elapsed := now.Sub(s.began)
		if s.For > 0 {
			progress.Tell("seconds", int64(min(elapsed, s.For).Seconds()), int64(s.For.Seconds()))
		}
		switch {
		case s.For > 0 && elapsed >= s.For:
			return false, nil
		case committed >= events:
			return true, nil
		case now.Sub(moved) > standstill:
			return false, fmt.Errorf("benchmarks: nothing was committed for %v", standstill)
		}
		for _, node := range s.nodes {
			if !node.Running() {
				return false, fmt.Errorf("benchmarks: node %s has ended by itself: %s", node.Name(), node.LastLine())
			}
		}
		select {
		case <-look.C:
		case <-s.ctx.Done():
			return false, context.Cause(s.ctx)
		}
	}
}

// strike has a fault happen, for as long as it lasts.
func (s *storm) strike(f fault) error {
	node := s.nodes[f.whom%uint64(len(s.nodes))]
	doors := s.someDoors(f.whom)
	// What lasts is halfway seen by clients that connect anew, to a node that
	// is behind perhaps.
	last := func() {
		pause(s.ctx, nil, f.lasts/2)
		s.someClients(f.whom, (*chaosClient).cut)
		pause(s.ctx, nil, f.lasts/2)
	}
	switch f.kind {
	case nodeKilled:
		err := node.Kill()
		last()
		return errors.Join(err, node.Start())
	case nodeRestarted:
		if err := node.Stop(); err != nil && !node.hasty {
			s.broken = append(s.broken, err.Error())
		}
		return node.Start()
	case nodeHung:
		err := node.Hang()
		last()
		return errors.Join(err, node.Continue())
	case databaseCut:
		each(doors, (*relay).cut)
	case databaseStalled:
		each(doors, (*relay).stall)
		last()
		each(doors, (*relay).resume)
	case databaseRefused:
		each(doors, (*relay).refuse)
		last()
		each(doors, (*relay).admit)
	case backendTerminated:
		return s.terminate(f.whom)
	case snapshotHeld:
		return s.holdSnapshot(last)
	case writersCut:
		s.desk.cut()
	case clientsCut:
		s.someClients(f.whom, (*chaosClient).cut)
	case clientsStalled:
		s.someClients(f.whom, func(c *chaosClient) { c.idle(stallLonger * f.lasts) })
	case databaseKilled, databaseRestarted:
		take := s.server.Kill
		if f.kind == databaseRestarted {
			take = s.server.Stop
		}
		err := take()
		last()
		return errors.Join(err, s.server.Start())
	case databaseFailsOver:
		return s.failOver(last)
	case nodeLeftBehind:
		return s.leaveBehind(f.whom)
	case clientsAway:
		s.someClients(f.whom, func(c *chaosClient) { c.leave(beyondRetention) })
		pause(s.ctx, nil, beyondRetention)
	case clientsReturn:
		for _, c := range s.clients {
			c.cut()
		}
	case logEmptied, logShortened:
		return s.removeByHand(f)
	case rowsLarge, rowsMany, rowsSlow, rowsLocked, rowsChanged, idsCached:
		return s.strikeRows(f)
	case logLocked, rightsRevoked, rowsHidden, serverReadOnly, notifiesHeld, standbyLags:
		return s.strikeDatabase(f)
	default:
		panic("benchmarks: a fault of no kind: " + string(f.kind))
	}
	return nil
}

// failOver loses the server of the database, and has its standby take over,
// which everybody is led to after a while.
func (s *storm) failOver(last func()) error {
	err := s.server.Promote()
	last()
	if err == nil {
		err = s.follow()
	}
	if err == nil {
		err = s.server.Mirror()
	}
	if err != nil {
		return err
	}
	address, err := hostPort(s.server.StandbyURL())
	for _, side := range s.sides {
		side.redirect(address)
	}
	return err
}

// follow leads everybody to where the database is now.
func (s *storm) follow() (err error) {
	address, err := hostPort(s.server.URL())
	if err == nil {
		s.database, err = by(s.database, address)
	}
	if err != nil {
		return err
	}
	for _, r := range append(s.doors[:len(s.doors):len(s.doors)], s.desk) {
		r.redirect(address)
	}
	for _, r := range s.sides { // to nowhere: the standby is to be made first
		r.redirect("")
	}
	return nil
}

// someDoors are the doors of one node, or of all.
func (s *storm) someDoors(whom uint64) []*relay {
	if whom%2 == 0 {
		return s.doors
	}
	one := whom / 2 % uint64(len(s.doors))
	return s.doors[one : one+1]
}

func each(doors []*relay, do func(*relay)) {
	for _, door := range doors {
		do(door)
	}
}

// someClients does something to a third of the clients.
func (s *storm) someClients(whom uint64, do func(*chaosClient)) {
	random := rand.New(rand.NewPCG(whom, 0))
	for _, i := range random.Perm(len(s.clients))[:(len(s.clients)+2)/3] {
		do(s.clients[i])
	}
}

// direct runs statements on a connection that no fault strikes.
func (s *storm) direct(do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(s.ctx, s.database)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(context.WithoutCancel(s.ctx)))
}

// terminate ends one of the nodes' backends, if there is one just now.
func (s *storm) terminate(whom uint64) error {
	return s.direct(func(conn *pgx.Conn) error {
		_, err := conn.Exec(s.ctx, `SELECT pg_terminate_backend(pid) FROM (
			SELECT pid, row_number() OVER (ORDER BY backend_start) - 1 AS place, count(*) OVER () AS all
			FROM pg_stat_activity WHERE starts_with(application_name, $1)) AS backends WHERE place = $2 % "all"`, nodesName, int64(whom>>1))
		return err
	})
}

// holdSnapshot keeps rows that are dead from being removed.
func (s *storm) holdSnapshot(last func()) error {
	return s.direct(func(conn *pgx.Conn) error {
		tx, err := conn.BeginTx(s.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			return err
		}
		_, err = tx.Exec(s.ctx, `SELECT count(*) FROM sluice_outbox`)
		last()
		return errors.Join(err, tx.Rollback(context.WithoutCancel(s.ctx)))
	})
}
