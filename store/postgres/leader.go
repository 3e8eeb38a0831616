package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/store"
)

// leaderName is the row of sluice_leases that says who leads. Nobody has the lead by
// that row: a session lock gives it, which ends with the session. The row is for
// those who want to know.
const leaderName = "leader"

// How long the row counts, and how often the leader renews it.
const (
	leaderTerm  = 15 * time.Second
	leaderRenew = leaderTerm / 3
)

const leadSQL = `INSERT INTO sluice_leases AS l (name, holder, until) VALUES ($1, $2, clock_timestamp() + $3::interval)
	ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = greatest(l.fence + 1, excluded.fence), since = clock_timestamp(), until = clock_timestamp() + $3::interval
	RETURNING fence`

// keepLeadSQL is committed without waiting for disks or standbys: a note that a crash of
// the server loses is written again, and rounds are not to wait for it.
const keepLeadSQL = `UPDATE sluice_leases SET until = clock_timestamp() + $4::interval
	FROM (SELECT set_config('synchronous_commit', 'off', true)) AS asynchronous WHERE name = $1 AND holder = $2 AND fence = $3`

// leadership is who leads, as far as this node knows.
type leadership struct {
	node string // this one's name; immutable

	mu sync.Mutex
	// Guarded by mu.
	self  bool         // this node does
	since time.Time    // when it began
	other store.Leader // who does by the row that was read last, whoever that is
}

// set notes whether this node leads.
func (l *leadership) set(self bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.self, l.since = self, time.Now().UTC()
}

// read notes what stands in the row.
func (l *leadership) read(by store.Leader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.other = by
}

// leader is who leads. Nobody knows it of this node as soon as itself.
func (l *leadership) leader(shared bool) store.Leader {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.self:
		return store.Leader{Node: l.node, Since: l.since, Self: true, Shared: shared}
	case l.other.Node == l.node: // it has lost the lead since the row was written
		return store.Leader{}
	}
	return l.other
}

// gauge is 1 while this node leads.
func (l *leadership) gauge() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.self {
		return 1
	}
	return 0
}

// lead takes the session lock that keeps the other nodes' sequencers quiet,
// unless one of them has it. Behind a pooler nobody can hold it, and all try.
func (s *session) lead(ctx context.Context) (bool, error) {
	if s.leads {
		return true, nil
	}
	if s.log.server.pooled {
		s.leads = true
	} else {
		// 3 is the kind of leading; see the first migration.
		err := s.conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(1936487683, $1::oid::integer)`, s.outbox).Scan(&s.leads)
		if err != nil || !s.leads {
			return false, err
		}
		attrs := []any{"node", s.log.leadership.node, "addr", s.log.server.addr}
		if before := s.log.leadership.leader(false); before.Node != "" {
			attrs = append(attrs, "from", before.Node)
		}
		if quiet, known := s.log.rounds.unheard(); known {
			attrs = append(attrs, "last_round", quiet.Round(time.Millisecond))
		}
		s.log.logger.Info("this node leads: it sequences the log", attrs...)
	}
	s.log.leadership.set(true)
	close(s.leading)
	return true, nil
}

// note notes that this session leads, if it does, and notes it again from time to
// time. The log goes on where that is refused. Its error is that the connection is
// lost.
func (s *session) note(ctx context.Context) error {
	now := time.Now()
	if !s.leads || s.log.server.pooled || s.conn.IsClosed() || now.Before(s.noteDue) {
		return nil
	}
	s.noteDue = now.Add(leaderRenew)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTimeout)
	defer cancel()
	node := s.log.leadership.node
	if s.fence != 0 {
		tag, err := s.conn.Exec(ctx, keepLeadSQL, leaderName, node, s.fence, leaderTerm)
		if err != nil || tag.RowsAffected() > 0 {
			return s.noted(err)
		}
		// The row is not as it was left: of a database that was restored, perhaps.
	}
	return s.noted(s.conn.QueryRow(ctx, leadSQL, leaderName, node, leaderTerm).Scan(&s.fence))
}

// noted tells that the lead could not be noted, and returns err if it is the
// connection's.
func (s *session) noted(err error) error {
	if err == nil || s.conn.IsClosed() || !isRefused(err) {
		return err
	}
	if now := time.Now(); now.Sub(s.noteTold) >= tellPause {
		s.noteTold = now
		s.log.logger.Warn("this node leads, and cannot note that for others to see", "error", s.log.explain(context.Background(), s.log.server.failure("note who leads", err, reads)))
	}
	return nil
}

// resign gives the lead up, if the session has it: because the log is to stop, or for
// the error that has ended it.
func (s *session) resign(err error) {
	if !s.leads {
		return
	}
	s.log.leadership.set(false)
	s.log.backlog.begins(beginning)
	if s.log.server.pooled {
		return
	}
	if err != nil {
		s.log.logger.Warn("this node leads no more", "reason", s.log.whyDeposed(err), "error", err)
		return
	}
	s.log.logger.Info("this node leads no more", "reason", "it stops")
	ctx, cancel := context.WithTimeout(context.Background(), resignTimeout)
	defer cancel()
	// The lock ends with the session. Others that rest look often from now on.
	_, _ = s.conn.Exec(ctx, `SELECT pg_notify($1, '')`, fmt.Sprintf("sluice_outbox_%d", s.outbox))
	if s.fence != 0 {
		_, _ = s.conn.Exec(ctx, releaseSQL, leaderName, s.log.leadership.node, s.fence) // else the row runs out
	}
}

// resignTimeout is how long the end of Run waits for the row to say that nobody leads.
const resignTimeout = time.Second

// SQLSTATEs of sessions that the server has ended.
const (
	adminShutdown      = "57P01"
	idleSessionTimeout = "57P05"
)

// whyDeposed says how a session that led has ended.
func (l *Log) whyDeposed(err error) string {
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && refusal.Code == idleSessionTimeout:
		return fmt.Sprintf("the database ended its session, which had done nothing for %v: this process, its machine or the network hung", l.silence)
	case errors.As(err, &refusal) && refusal.Code == adminShutdown:
		return "the database ended its session: pg_terminate_backend, or the server stops"
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return "the database did not answer a round in time"
	}
	return "it has lost its connection to the database"
}

// settingsOfLeader bound for how long the server keeps the session, and the lock, of a
// process that is stopped, or that the network has lost. One that is at rest is ended
// when it has been idle for too long. One that the server is writing to, in the midst
// of a round, is ended once nothing is acknowledged, or a stopped process takes
// nothing, for as long (of TCP alone: on a Unix socket these do nothing).
func settingsOfLeader(silence time.Duration) string {
	return fmt.Sprintf(`SET idle_session_timeout = %d; SET tcp_user_timeout = %[1]d; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3`, silence.Milliseconds())
}

// Outbox implements [store.Log].
func (l *Log) Outbox() store.Outbox {
	o := l.backlog.seen()
	o.Leader = l.leadership.leader(l.server.pooled)
	return o
}
