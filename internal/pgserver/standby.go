//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// lookEvery is how often to look whether a standby follows.
const lookEvery = 20 * time.Millisecond

// Mirror gives the server a standby that follows it synchronously: from then on
// a commit returns when the standby has it too.
func (s *Server) Mirror() error {
	if s.standby != nil {
		return errors.New("pgserver: the server has a standby already")
	}
	standby := s.newInstance()
	// The copy is made before the primary waits for its standby, and so does
	// not itself wait for one when it is promoted.
	if err := s.run("pg_basebackup", "--host=127.0.0.1", "--port="+strconv.Itoa(s.primary.port), "--username=postgres",
		"--pgdata="+standby.data(), "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"); err != nil {
		return err
	}
	s.standby = standby
	if err := standby.launch(); err != nil {
		return err
	}
	return s.primary.ask(func(ctx context.Context, conn *pgx.Conn) error {
		if err := until(ctx, conn, `SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')`); err != nil {
			return fmt.Errorf("wait for the standby: %w", err)
		}
		for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		return until(ctx, conn, `SELECT current_setting('synchronous_standby_names') = '*'
			AND EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')`)
	})
}

// Promote kills the server and makes its standby the server, at another URL and
// without a standby of its own.
func (s *Server) Promote() error {
	if s.standby == nil {
		return errors.New("pgserver: the server has no standby: see Mirror")
	}
	if err := s.Kill(); err != nil {
		return err
	}
	s.primary, s.standby = s.standby, nil
	return s.primary.ask(func(ctx context.Context, conn *pgx.Conn) error {
		return until(ctx, conn, `SELECT pg_promote()`)
	})
}

// ask does something on a connection to the instance.
func (i *instance) ask(do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, i.url())
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, conn), conn.Close(ctx))
}

// until asks until the answer is yes.
func until(ctx context.Context, conn *pgx.Conn, sql string) error {
	for {
		var yes bool
		if err := conn.QueryRow(ctx, sql).Scan(&yes); err != nil || yes {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// StandbyURL connects to the standby, which is there from Mirror to Promote.
func (s *Server) StandbyURL() string { return s.standby.url() }
