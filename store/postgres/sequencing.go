package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Sequencing implements [store.Log]. Beyond what rounds do, it says that this node's own
// writes fail, and that rights have been revoked, before anything needs them.
func (l *Log) Sequencing(ctx context.Context) error {
	if err := l.awaitsRound(ctx); err != nil {
		return err
	}
	if err := l.writable(ctx); err != nil {
		return l.explain(ctx, l.blame(ctx, l.pool, err))
	}
	return l.vet(ctx)
}

// awaitsRound says that rows wait for a round that is not committed, or that it cannot be
// told whether any do.
func (l *Log) awaitsRound(ctx context.Context) error {
	quiet := l.rounds.quiet(l.head.Offset())
	if !l.backlog.due(time.Now(), quiet, l.wakeUps.atRest()) {
		return nil
	}
	readOnly, rows, err := l.look(ctx, quiet)
	if !quiet {
		return nil // rounds are committed, whatever this node sees of the outbox
	}
	waiting, cause := l.rounds.saw(rows, err)
	switch {
	case waiting >= maxStall+l.poll: // for so long may a wake-up that was lost go unnoticed
		stalled := &store.StalledError{For: waiting, Err: cause}
		if cause == nil {
			stalled.Hint = l.whoseTurn(ctx)
		}
		return stalled
	case err != nil:
		return l.explain(ctx, l.blame(ctx, l.pool, l.failure("look for events that wait", err, reads)))
	case readOnly:
		return l.server.unavailable("write", errReadOnly)
	}
	return nil
}

var errReadOnly = errors.New("the server takes no writes: it is a standby, or set to be read-only")

// leaderLockSQL asks which session has the lock that the leader has. The second half of
// the lock is an oid, and 2 says that the lock has halves.
const leaderLockSQL = `SELECT pid, coalesce(usename::text, ''), coalesce(application_name, '')
	FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
	WHERE locktype = 'advisory' AND granted AND classid = 1936487683 AND objid = 'sluice_outbox'::regclass AND objsubid = 2
		AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1`

// whoseTurn says who is to sequence, and what to do, where this node knows of nothing
// that keeps it from that.
func (l *Log) whoseTurn(ctx context.Context) string {
	leader := l.leadership.leader(l.server.pooled)
	switch {
	case leader.Self && leader.Shared:
		return "through a transaction pooler all nodes do that in turn: the logs of the others say why they do not"
	case leader.Self:
		return "this node leads, and its round does not end: see pg_stat_activity for what its session waits for"
	case leader.Node != "":
		return fmt.Sprintf("node %s leads: its log says why", leader.Node)
	}
	var pid int
	var user, application string
	if err := l.pool.QueryRow(ctx, leaderLockSQL).Scan(&pid, &user, &application); err != nil {
		return "no node leads: start one on this database (sluice serve); the log of one that runs says why it cannot"
	}
	return fmt.Sprintf("no node leads, since session %d (user %q, application %q) has the lock of who does, and sequences nothing: have its process go on, or end it with SELECT pg_terminate_backend(%[1]d)",
		pid, user, application)
}

// lockersSQL asks who has locked tables of this schema so that others have to wait.
const lockersSQL = `SELECT coalesce(string_agg(DISTINCT format('session %s holds %s on %s', pid, mode, relation::regclass), ', '), '')
	FROM pg_locks WHERE locktype = 'relation' AND granted AND pid <> pg_backend_pid()
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND starts_with(relname, 'sluice_'))
		AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock', 'ShareUpdateExclusiveLock')`

// blameTimeout bounds how long it may take to find out who has locked a table.
const blameTimeout = time.Second

// blame adds to an error of something that had to wait for too long who has locked the
// tables, if anybody has.
func (l *Log) blame(ctx context.Context, q querier, err error) error {
	if code(err) != lockNotAvailable && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), blameTimeout) // what had to wait has used up its own
	defer cancel()
	var holders string
	if q.QueryRow(ctx, lockersSQL, l.server.schema).Scan(&holders) != nil || holders == "" {
		return err
	}
	return fmt.Errorf("%w (%s: wait for it, or end it with pg_terminate_backend)", err, holders)
}
