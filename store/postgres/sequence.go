package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Rows of a round, which the log's readers wait for, and which is done again if
// the session is lost. A backlog is moved in larger ones, since each waits for
// the disk once; but they do not grow beyond what is done in a moment.
const (
	usualBatch = 1000
	maxBatch   = 4 * usualBatch
	longRound  = 50 * time.Millisecond
)

// extendPause keeps a partition that cannot be made from stopping the line
// each round: half a partition of room is left when the first attempt is due.
const extendPause = 10 * time.Second

// progress is what a round comes to.
type progress int

const (
	nothing progress = iota // there was nothing to move, or it is another session's to move
	some                    // all that was there
	full                    // a whole batch: there is more, or a row to isolate
)

// round moves one batch from the outbox to the log, if this session is the
// one to do so. A round that has begun is finished: ctx only ends the waiting
// between them.
func (s *session) round(ctx context.Context) (progress, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTimeout)
	defer cancel()
	if leads, err := s.lead(ctx); err != nil || !leads {
		return nothing, err
	}
	if err := s.watchWriters(ctx); err != nil {
		return nothing, err
	}
	began := time.Now()
	start := s.floor.start(began)
	known := s.head // which a notification may take away meanwhile
	m, err := s.move(ctx, start)
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && refusal.Code == uniqueViolation && known != nil:
		s.head = nil // another session has moved rows since
		return full, nil
	case errors.As(err, &refusal) && isUnstorable(refusal):
		return full, s.isolate(ctx, refusal)
	case err != nil:
		return nothing, err
	case m.rows < 0: // another session is at it
		return nothing, nil
	}
	if m.begun != nil {
		s.log.logger.Warn("the log begins a new epoch: its database was failed over or restored", "epoch", *m.begun, "head", *m.head-int64(m.rows), "addr", s.log.server.addr)
	}
	if !s.log.server.pooled { // which may lead to another server each time
		s.head = m.head
	}
	s.trickles = *m.drained && m.rows <= maxFresh
	s.log.head.Advance(*m.head)
	s.floor.moved(time.Now(), start, *m.last, *m.drained)
	if *m.extend && time.Now().After(s.extendAfter) {
		s.extend(ctx)
	}
	switch {
	case m.rows == 0:
		return nothing, nil
	case *m.drained:
		s.batch = usualBatch
		return some, nil
	}
	if s.batch < usualBatch || time.Since(began) < longRound {
		s.batch = min(2*s.batch, maxBatch)
	}
	return full, nil
}

// move is what sluice_sequence returns: all but rows is nil when these are -1.
type move struct {
	rows            int
	last, head      *int64
	drained, extend *bool
	begun           *string
}

func (m *move) scan(row pgx.Row) error {
	return row.Scan(&m.rows, &m.last, &m.drained, &m.head, &m.extend, &m.begun)
}

// uniqueViolation is what comes of offsets that the log has given out already.
const uniqueViolation = "23505"

const moveSQL = `SELECT moved, last, drained, head, extend, begun FROM sluice_sequence($1, $2, $3)`

// move moves rows with an id above floor. Where few are expected it reads them
// in the same round trip, for the reader who waits.
func (s *session) move(ctx context.Context, floor int64) (m move, err error) {
	size := s.freshSize()
	if size == 0 {
		return m, m.scan(s.conn.QueryRow(ctx, moveSQL, s.batch, floor, s.head))
	}
	head := *s.head    // as it is now, see round
	var both pgx.Batch // one transaction: the second sees what the first has moved
	both.Queue(moveSQL, s.batch, floor, head)
	both.Queue(freshSQL, head, head+int64(size))
	results := s.conn.SendBatch(ctx, &both)
	err = m.scan(results.QueryRow())
	if err != nil {
		return m, errors.Join(err, results.Close())
	}
	page, err := s.readFresh(results, head)
	// Only now is it committed: nobody may see any of it before.
	if err := errors.Join(err, results.Close()); err != nil {
		return m, err
	}
	s.log.fresh.Store(page)
	return m, nil
}

// watchWriters asks, once in a while, who may hold up the floor.
func (s *session) watchWriters(ctx context.Context) error {
	now := time.Now()
	if now.Before(s.floor.watchDue) {
		return nil
	}
	var drawn int64
	var writers []string
	if err := s.conn.QueryRow(ctx, `SELECT drawn, writers FROM sluice_writers()`).Scan(&drawn, &writers); err != nil {
		return err
	}
	s.floor.watched(drawn, writers)
	s.floor.watchDue = now.Add(watchPause)
	return nil
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
		s.log.logger.Info("this node sequences the log", "addr", s.log.server.addr)
	}
	close(s.leading)
	return true, nil
}

// isUnstorable reports refusals that come from a row itself: data exceptions,
// and program limits such as the size of an index entry. A violated
// constraint is not among them: it would speak of the log, and setting rows
// aside would go on for ever.
func isUnstorable(refusal *pgconn.PgError) bool {
	return class(refusal) == "22" || class(refusal) == "54"
}

// isolate halves the batch until the row that the log will not take is alone
// and can be set aside: the oldest there is, so rounds begin with that.
func (s *session) isolate(ctx context.Context, refusal *pgconn.PgError) error {
	s.floor = floor{}
	if s.batch > 1 {
		s.batch /= 2
		return nil
	}
	var id int64
	if err := s.conn.QueryRow(ctx, `SELECT sluice_reject($1)`, refusal.Message).Scan(&id); err != nil {
		return fmt.Errorf("set outbox row aside: %w", err)
	}
	s.log.failures.Add(1)
	s.log.logger.Error("event cannot be stored; it was moved to sluice_rejected", "outbox_id", id, "error", refusal)
	return nil
}

// extend makes the log's next partition.
func (s *session) extend(ctx context.Context) {
	if _, err := s.conn.Exec(ctx, `SELECT sluice_extend_log()`); err != nil {
		s.log.failures.Add(1)
		s.extendAfter = time.Now().Add(extendPause)
		s.log.logger.Error("the log's next partition cannot be made; trying again", "error", err, "pause", extendPause)
	}
}
