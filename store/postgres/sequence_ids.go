package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// healSQL makes the sequence of the outbox draw ids in ascending order, whoever
// draws them. It is a no-op where it does.
const healSQL = `ALTER SEQUENCE sluice_outbox_id_seq INCREMENT BY 1 CACHE 1 NO CYCLE`

type executer interface {
	querier
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// checkIDs makes sure that ids are drawn in ascending order. A sequence with a
// cache gives a session several at once, which it writes rows with later, behind
// rows that were committed after them. healed says that it was so.
func checkIDs(ctx context.Context, conn executer) (healed bool, err error) {
	var ordered bool
	err = conn.QueryRow(ctx, `SELECT seqcache = 1 AND seqincrement > 0 FROM pg_sequence WHERE seqrelid = 'sluice_outbox_id_seq'::regclass`).Scan(&ordered)
	if err != nil || ordered {
		return false, err
	}
	if _, err := conn.Exec(ctx, healSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		return false, fmt.Errorf("the sequence of sluice_outbox has a cache or counts down, so that events would be out of order; as its owner: %s: %w", healSQL, err)
	}
	return true, nil
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

// extendsSQL asks whether this user may make the log's next partition.
const extendsSQL = `SELECT prosecdef OR pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
	FROM pg_class, pg_proc WHERE pg_class.oid = 'sluice_log'::regclass AND pg_proc.oid = 'sluice_extend_log()'::regprocedure`

// checkPartitions tells at start what stops the sequencer much later, when the
// present partition is full.
func (l *Log) checkPartitions(ctx context.Context) error {
	var extends bool
	if err := l.pool.QueryRow(ctx, extendsSQL).Scan(&extends); err != nil {
		return l.failure("check who owns sluice_log", err, reads)
	}
	if !extends {
		l.logger.Error("this database user may not make the log's next partition, and will sequence nothing once the present one is full: make it a member of the role that owns sluice_log, with CREATE on the schema", "user", l.server.pool.ConnConfig.User, "addr", l.server.addr)
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
		s.log.logger.Error("events are out of order", "error", s.log.server.failure("draw ids in order", err, reads))
	}
}
