package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// clusterFaults are those of nodes that hear each other.
var clusterFaults = []faultKind{busCut, busStalled, busAway, nodeAlone, nodesRolled, leadersKilled, leaderHung}

// NodeFaults are the names of the faults that strike nodes, and what is between them and
// to the database: for a run of these alone.
func NodeFaults() (names []string) {
	for _, kind := range append([]faultKind{nodeKilled, nodeHung, databaseRefused}, clusterFaults...) {
		names = append(names, string(kind))
	}
	return names
}

const (
	// busLonger is how many times as long those faults last by which nodes lose sight of
	// each other: some for longer than it takes to be given up, some for less.
	busLonger = 5
	// leaders is how many are killed, one after the other.
	leaders = 3
)

// applyToCluster strikes the nodes as a cluster.
func (r *run) applyToCluster(f fault, last func()) error {
	longer := func() {
		last()
		pause(r.ctx, nil, (busLonger-1)*f.lasts)
	}
	switch f.kind {
	case busCut:
		return during(r.bus.some(f.whom), (*relay).refuse, longer, (*relay).admit)
	case busStalled:
		return during(r.bus.some(f.whom), (*relay).stall, longer, (*relay).resume)
	case busAway:
		if r.bus.nats == nil {
			return during(r.bus.all(), (*relay).refuse, longer, (*relay).admit)
		}
		r.bus.nats.stop()
		longer()
		return r.bus.nats.start()
	case nodeAlone:
		alone := int(f.whom % uint64(len(r.nodes)))
		around := append(r.bus.of(alone), r.nodeRelays[alone])
		return during(around, (*relay).refuse, longer, (*relay).admit)
	case nodesRolled:
		return r.roll()
	case leadersKilled:
		return r.killLeaders(f.lasts)
	case leaderHung:
		i, err := r.awaitLeader()
		if err != nil {
			return err
		}
		err = r.nodes[i].Hang()
		longer()
		return errors.Join(err, r.nodes[i].Continue())
	}
	return nil
}

// during has relays begin something, and end it when it has lasted.
func during(relays []*relay, begin func(*relay), last func(), end func(*relay)) error {
	each(relays, begin)
	last()
	each(relays, end)
	return nil
}

// roll restarts one node after the other, each once the one before is ready again.
func (r *run) roll() error {
	for _, node := range r.nodes {
		if err := node.Stop(); err != nil && !node.hasty {
			r.broken = append(r.broken, err.Error())
		}
		if err := errors.Join(node.Start(), node.Ready(r.ctx)); err != nil {
			return err
		}
	}
	return nil
}

// killLeaders kills who leads, and then who has taken over.
func (r *run) killLeaders(down time.Duration) error {
	for range leaders {
		i, err := r.awaitLeader()
		if err != nil {
			return err
		}
		r.tell("%s leads, and is killed", r.nodes[i].Name())
		err = r.nodes[i].Kill()
		pause(r.ctx, nil, down)
		if err := errors.Join(err, r.nodes[i].Start()); err != nil {
			return err
		}
	}
	return nil
}

// awaitLeader waits until a node leads, and tells which.
func (r *run) awaitLeader() (node int, err error) {
	for late := time.Now().Add(standstill); time.Now().Before(late); pause(r.ctx, nil, lookEvery) {
		node, err := r.leader()
		if node >= 0 || err != nil || r.ctx.Err() != nil {
			return node, errors.Join(err, context.Cause(r.ctx))
		}
	}
	return -1, fmt.Errorf("benchmarks: nobody leads for %v", standstill)
}

// leadersLock is the class of the lock that a node holds while it sequences.
const leadersLock = 1936487683

// leader is the node that sequences just now, by the lock that it holds; -1 for none.
func (r *run) leader() (node int, err error) {
	var name string
	err = r.direct(func(conn *pgx.Conn) error {
		err := conn.QueryRow(r.ctx, `SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND classid = $1 AND objid = 'sluice_outbox'::regclass AND granted`, leadersLock).Scan(&name)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	for i := range r.nodes {
		if nodeName(i) == name {
			return i, err
		}
	}
	return -1, err
}
