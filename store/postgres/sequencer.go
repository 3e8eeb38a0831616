package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// extendPause keeps a partition that cannot be made from stopping the line
// each round: half a partition of room is left when the first attempt is due.
const extendPause = 10 * time.Second

// quietPause is for how long no wake-ups are sent once the server has refused one.
const quietPause = 10 * time.Second

// outcome is what a round comes to, and so what is next.
type outcome int

const (
	nothing outcome = iota // there was nothing to move, or it is another session's to move: look again in a while
	emptied                // all that was there was moved: rest, and look again
	more                   // a whole batch was moved, and there is more: go on
	undone                 // it was refused, and is to be done in another way: do it
	cleared                // it was refused for rows that are out of the way now: do it again
)

// round moves one batch from the outbox to the log, if this session is the
// one to do so. A round that has begun is finished: ctx only ends the waiting
// between them.
func (s *session) round(ctx context.Context) (outcome, error) {
	budget := &s.log.budget
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budget.timeout+budget.grace)
	defer cancel()
	leads, err := s.lead(ctx)
	if err != nil {
		return nothing, err
	}
	if !leads {
		s.log.rounds.succeed(false)
		return nothing, nil
	}
	if err := s.setTimeout(ctx); err != nil {
		return nothing, err
	}
	if err := s.watchWriters(ctx); err != nil {
		return nothing, err
	}
	began := time.Now()
	start := s.watermark.start(began)
	s.log.backlog.begins(start)
	known := s.head // which a notification may take away meanwhile
	m, err := s.move(ctx, start)
	if err != nil {
		return s.again(ctx, err, known, start)
	}
	if m.rows < 0 { // another session is at it
		s.log.rounds.succeed(false)
		return nothing, nil
	}
	if m.begun != nil {
		s.log.logger.Warn("the log begins a new epoch: its database was failed over or restored", "epoch", *m.begun, "head", *m.head-int64(m.rows), "addr", s.log.server.addr)
	}
	if m.epoch != nil && *m.epoch != s.epoch { // another server, perhaps, with ids and transactions of its own
		s.watermark.reset()
		s.epoch = *m.epoch
	}
	if !s.log.server.pooled { // which may lead to another server each time
		s.head = m.head
	}
	s.log.head.Advance(*m.head)
	late := m.rows > 0 && s.watermark.passedOver(*m.first)
	s.watermark.moved(time.Now(), start, *m.last, *m.drained)
	if late {
		s.watermark.distrust()
		s.log.logger.Warn("an event came with an id that was drawn long ago: events may be up to the poll interval later from now on, and are all found", "outbox_id", *m.first)
	}
	s.wakeUpsWork()
	s.passedBy(ctx, m)
	s.log.aside.Note(m.large)
	s.log.aside.Tell()
	if *m.extend && time.Now().After(s.extendAfter) {
		s.extendFailure = s.extend(ctx)
	}
	full := !*m.drained && m.waits == nil // it has moved as much as it may
	if *m.room == 0 && full {
		if s.extendFailure != nil {
			return nothing, s.extendFailure
		}
		full = m.rows > 0 || m.large != nil
	}
	s.trickles = !full && m.rows <= maxHandoff
	s.careful = m.waits != nil
	s.log.rounds.succeed(true)
	took := time.Since(began)
	budget.spent(took, full)
	if m.rows > 0 {
		s.log.sequenced.Add(int64(m.rows))
		s.log.sequenceTime.Observe(took)
	}
	switch {
	case m.rows == 0 && m.large == nil:
		return nothing, nil
	case full:
		return more, nil
	}
	return emptied, nil
}

// again says how to go on after a round that failed, and was undone by that. Its
// error is returned if it is to be told.
func (s *session) again(ctx context.Context, err error, known *int64, start int64) (outcome, error) {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		s.log.budget.exceeded() // or the connection was lost: what is less is as well
		return nothing, err
	}
	redone := s.redone
	s.redone = refusal.Code
	switch {
	case refusal.Code == uniqueViolation && known != nil:
		s.head = nil // another session has moved rows since
		return undone, nil
	case refusal.Code == queryCanceled:
		s.log.budget.exceeded()
		return undone, s.told(redone == refusal.Code, err)
	case (refusal.Code == lockNotAvailable || refusal.Code == serializationFailure) && !s.careful:
		s.careful = true // a row was locked, or changed, after it was seen
		return undone, nil
	case isBadData(refusal) && !s.isQuiet():
		s.quiet = true // is it the wake-up that is refused?
		return undone, nil
	case isBadData(refusal):
		s.careful, s.rejected = true, true
		if rejected, failure := s.reject(ctx, start); rejected > 0 || failure != nil {
			return cleared, failure
		}
	}
	return nothing, err
}

// told returns an error that comes the second time in succession.
func (s *session) told(again bool, err error) error {
	if again {
		return err
	}
	return nil
}

// move is what sluice_sequence returns: all but rows is nil when these are -1.
type move struct {
	rows                     int
	last, head, first, waits *int64
	room                     *int64
	epoch                    *int32
	drained, extend          *bool
	begun                    *string
	large                    []int64 // ids
}

func (m *move) scan(row pgx.Row) error {
	return row.Scan(&m.rows, &m.last, &m.drained, &m.head, &m.extend, &m.begun, &m.first, &m.waits, &m.room, &m.epoch, &m.large)
}

// What comes of offsets that the log has given out already, of a statement that
// takes too long, and of a row that was changed meanwhile.
const (
	uniqueViolation      = "23505"
	queryCanceled        = "57014"
	serializationFailure = "40001"
)

const moveSQL = `SELECT moved, last, drained, head, extend, begun, first, waits, room, epoch, large FROM sluice_sequence($1, $2, $3, $4, $5, $6)`

// limitSQL is for connections that others use too: it is the transaction's.
const limitSQL = `SELECT set_config('statement_timeout', $1, true)`

// move moves rows with an id above start. Where few are expected it reads them
// in the same round trip, for the reader who waits.
func (s *session) move(ctx context.Context, start int64) (m move, err error) {
	size := s.handoffSize()
	budget := s.log.budget
	args := []any{budget.rows, start, s.head, budget.bytes, s.careful, !s.isQuiet()}
	if size == 0 && !s.log.server.pooled {
		if err := m.scan(s.conn.QueryRow(ctx, moveSQL, args...)); err != nil {
			return m, err
		}
		s.tellMoved(m, nil)
		return m, nil
	}
	var head int64
	var all pgx.Batch // one transaction: each sees what those before it have moved
	if s.log.server.pooled {
		all.Queue(limitSQL, strconv.FormatInt(budget.timeout.Milliseconds(), 10))
	}
	all.Queue(moveSQL, args...)
	if size > 0 {
		head = *s.head // as it is now, see round
		all.Queue(handoffSQL, head, head+int64(size), maxHandoffRow)
	}
	results := s.conn.SendBatch(ctx, &all)
	if s.log.server.pooled {
		_, err = results.Exec()
	}
	if err == nil {
		err = m.scan(results.QueryRow())
	}
	var page *handoffPage
	if err == nil && size > 0 {
		page, err = s.readHandoff(results, head)
	}
	// Only now is it committed: nobody may see any of it before.
	if err := errors.Join(err, results.Close()); err != nil {
		return m, err
	}
	if page != nil {
		s.log.keepHandoff(page)
	}
	s.tellMoved(m, page)
	return m, nil
}

// setTimeout has the server end what takes longer than a round may. It does not
// end the wait for a synchronous standby: that has begun when all is done.
func (s *session) setTimeout(ctx context.Context) error {
	timeout := s.log.budget.timeout
	if s.log.server.pooled || s.timeout == timeout {
		return nil
	}
	_, err := s.conn.Exec(ctx, fmt.Sprintf(`SET statement_timeout = %d`, timeout.Milliseconds()), pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		s.timeout = timeout
	}
	return err
}

// watchWriters asks, once in a while, who may hold up the watermark, and who wake-ups.
func (s *session) watchWriters(ctx context.Context) error {
	now := time.Now()
	if now.Before(s.watermark.watchDue) || s.log.wakeUps.atRest() {
		return nil
	}
	var w writers
	err := s.conn.QueryRow(ctx, `SELECT drawn, writers, ordered, file, coalesce(notifier, ''), coalesce(pid, 0) FROM sluice_writers()`).
		Scan(&w.drawn, &w.open, &w.ordered, &w.file, &w.notifier, &w.pid)
	if err != nil {
		return err
	}
	s.watermark.watched(w)
	if len(w.open) == 0 {
		s.restful.clear = now
	}
	s.watermark.watchDue = now.Add(watchPause)
	if !w.ordered {
		s.heal(ctx)
	}
	s.watchNotifier(now, w)
	return nil
}

// reject sets those rows of the failed round aside which the log will not take.
func (s *session) reject(ctx context.Context, start int64) (rejected int, err error) {
	s.log.budget.rows = min(s.log.budget.rows, usualRows)
	rows, err := s.conn.Query(ctx, `SELECT outbox_id, code, reason FROM sluice_reject($1, $2, $3)`, s.log.budget.rows, start, s.log.budget.bytes)
	if err != nil {
		return 0, err
	}
	type row struct {
		ID           int64
		Code, Reason string
	}
	gone, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return 0, fmt.Errorf("set outbox rows aside: %w", err)
	}
	for _, r := range gone {
		s.log.failures.Add(1)
		s.log.refused.Add(1)
		s.log.logger.Error("event cannot be stored; it was moved to sluice_rejected", "outbox_id", r.ID, "code", r.Code, "reason", r.Reason)
	}
	return len(gone), nil
}

// isQuiet tells whether rounds send no wake-ups: because the server has refused
// one, or to find out whether that is what it refuses.
func (s *session) isQuiet() bool { return s.quiet || time.Now().Before(s.quietUntil) }

// wakeUpsWork notes, after a round, whether wake-ups may be sent.
func (s *session) wakeUpsWork() {
	if s.quiet && !s.rejected {
		s.quietUntil = time.Now().Add(quietPause)
		if now := time.Now(); now.Sub(s.quietTold) >= tellPause {
			s.quietTold = now
			s.log.logger.Error("the server's notification queue is full: events are found by polling, and so later; end the session that listens in a transaction which stays open (pg_stat_activity), or see pg_notification_queue_usage()", "addr", s.log.server.addr)
		}
	}
	s.quiet, s.rejected, s.redone = false, false, ""
}

// extend makes the log's next partition.
func (s *session) extend(ctx context.Context) error {
	_, err := s.conn.Exec(ctx, `SELECT sluice_extend_log()`)
	if err == nil {
		return nil
	}
	s.log.failures.Add(1)
	s.extendAfter = time.Now().Add(extendPause)
	err = fmt.Errorf("make the log's next partition: %w", err)
	s.log.logger.Error("the log's next partition cannot be made; trying again", "error", s.log.server.failure("extend the log", err, reads), "pause", extendPause)
	return err
}
