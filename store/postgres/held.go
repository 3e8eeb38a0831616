package postgres

import (
	"context"
	"fmt"
	"time"
)

// What others do to the outbox for longer than a commit takes: a row that is
// locked, which holds up its topic, and a transaction that holds back wake-ups.
type held struct {
	id    int64     // the lowest that rounds have passed by
	since time.Time // when they first did
	told  time.Time
	beat  time.Time // when the other nodes were last told that rounds are committed

	notifier string        // the transaction that was to send a wake-up when last looked
	look     time.Duration // how seldom to look for rows meanwhile; 0: as ever
}

// heldTooLong is how long a row may be locked before it is told.
const heldTooLong = 5 * time.Second

// hushedPoll is how often to look for rows while nobody can send a wake-up.
const hushedPoll = 5 * time.Millisecond

const holderSQL = `SELECT coalesce((SELECT pid FROM pg_locks, sluice_outbox
	WHERE locktype = 'transactionid' AND transactionid = xmax AND granted AND id = $1 LIMIT 1), 0)`

// passedBy tells of a row that a round has passed by, if it has.
func (s *session) passedBy(ctx context.Context, m move) {
	if m.waits == nil {
		s.held.id = 0
		return
	}
	now := time.Now()
	if s.held.id != *m.waits {
		s.held.id, s.held.since, s.held.told = *m.waits, now, time.Time{}
	}
	// Nodes that hear of no round would think that none is made.
	if now.Sub(s.held.beat) >= maxQuiet/2 && !s.isQuiet() && !s.log.server.pooled {
		s.held.beat = now
		s.conn.Exec(ctx, `SELECT pg_notify($1, $2)`, fmt.Sprintf("sluice_log_%d", s.outbox), fmt.Sprint(*m.head)) // a lost connection is met by the next round
	}
	if now.Sub(s.held.since) < heldTooLong || now.Sub(s.held.told) < tellPause {
		return
	}
	s.held.told = now
	var pid int
	s.conn.QueryRow(ctx, holderSQL, s.held.id).Scan(&pid)
	s.log.logger.Warn("a row of the outbox is locked by another session: later events of its topic wait for it; end that session's transaction",
		"outbox_id", s.held.id, "for", now.Sub(s.held.since).Round(time.Second), "pid", pid)
}

// watchNotifier looks for rows often while the lock of who notifies is held by a
// transaction that stays open, and so keeps all others from it.
func (s *session) watchNotifier(now time.Time, w writers) {
	stays := w.notifier != "" && w.notifier == s.held.notifier
	s.held.notifier = w.notifier
	switch {
	case !stays:
		s.held.look = 0
	case s.held.look == 0:
		s.held.look = hushedPoll
		s.log.logger.Warn("a transaction that stays open keeps commits from waking the sequencer, as SET CONSTRAINTS ALL IMMEDIATE makes it: looking for events often instead",
			"pid", w.pid, "pause", hushedPoll)
	}
}

// pollInterval is how seldom to look for rows. A session that rests for longer than
// maxRest would be taken for one that hangs.
func (s *session) pollInterval() time.Duration {
	usual := min(s.log.poll, maxRest)
	switch {
	case s.held.look > 0:
		return min(s.held.look, s.log.poll)
	case !s.log.wakeUps.atRest():
		return usual
	case s.leads:
		return max(usual, s.log.rest)
	}
	return max(usual, min(2*s.log.rest, followerRest))
}
