package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// checkIDs makes sure that ids are drawn in ascending order. A sequence with a
// cache gives a session several at once, which it writes rows with later, behind
// rows that were committed after them. healed says that it was so.
func checkIDs(ctx context.Context, conn querier) (healed bool, err error) {
	if err := conn.QueryRow(ctx, `SELECT sluice_order_ids()`).Scan(&healed); err != nil {
		return false, fmt.Errorf("have the sequence of sluice_outbox draw ids in order, without a cache: %w", err)
	}
	return healed, nil
}

// checkIDs is for a log that is being opened.
func (l *Log) checkIDs(ctx context.Context) error {
	healed, err := checkIDs(ctx, l.pool)
	var refusal *pgconn.PgError
	switch {
	case errors.As(err, &refusal) && !passes(refusal):
		return fmt.Errorf("postgres: %w", err)
	case err != nil:
		return l.failure("check the sequence of sluice_outbox", err, reads)
	case healed:
		l.healed = true
		l.tellHealed()
	}
	return nil
}

func (l *Log) tellHealed() {
	l.logger.Warn("the sequence of sluice_outbox had a cache or counted down, and does not any more: sessions that were connected then use up the ids that they have, out of order", "addr", l.server.addr)
}

// heal does so while the log runs. Where it may not, rounds begin at the beginning,
// which finds all events, and it is told for as long as it lasts.
func (s *session) heal(ctx context.Context) {
	healed, err := checkIDs(ctx, s.conn)
	if healed {
		s.log.tellHealed()
	}
	if now := time.Now(); err != nil && now.Sub(s.healTold) >= tellPause {
		s.healTold = now
		s.log.failures.Add(1)
		s.log.logger.Error("events are out of order", "error", s.log.explain(ctx, s.log.server.failure("draw ids in order", err, reads)))
	}
}
