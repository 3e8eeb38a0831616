package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Grant gives a role, which owns nothing, all that it needs to serve: in the
// database that databaseURL names, whose tables are those of this program. To do it
// twice does no harm. What the database's user may not grant is an error.
func Grant(ctx context.Context, databaseURL, role string, logger *slog.Logger) error {
	server, err := newServer(Config{DatabaseURL: databaseURL})
	if err != nil {
		return err
	}
	if logger == nil {
		logger = slog.Default()
	}
	conn, err := server.connect(ctx, logger)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	if err := server.checkVersion(ctx, conn); err != nil {
		return err
	}
	return server.grant(ctx, conn, role)
}

func (s *server) grant(ctx context.Context, conn *pgx.Conn, role string) error {
	where := fmt.Sprintf("database %q at %s", conn.Config().Database, s.addr)
	var exists bool
	var user, quoted, schema string
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text), current_user::text, quote_ident($1::text), quote_ident($2)`, role, s.schema).
		Scan(&exists, &user, &quoted, &schema); err != nil {
		return s.failure("look for a role", err, reads)
	}
	if !exists {
		return fmt.Errorf("postgres: there is no role %q to grant rights to in %s: CREATE ROLE %s LOGIN", role, where, quoted)
	}
	missing, err := s.lacking(ctx, conn, role, serving)
	if err != nil {
		return s.failure("check rights", err, reads)
	}
	statements := make([]string, len(missing))
	for i, r := range missing {
		statements[i] = r.grant(schema, quoted)
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		// Who may grant some of it is only warned of the rest.
		if missing, err = s.lacking(ctx, tx, role, serving); err != nil || len(missing) == 0 {
			return err
		}
		return &refusedGrant{user: user, sql: missing[0].grant(schema, quoted)}
	})
	if refused, is := err.(*refusedGrant); is {
		return fmt.Errorf("postgres: in %s %w", where, refused)
	}
	if err != nil {
		return fmt.Errorf("%w; user %q would have run: %s", s.failure("grant rights", err, reads), user, strings.Join(statements, "; "))
	}
	return nil
}

// refusedGrant is what the server has not granted, and has not called an error.
type refusedGrant struct{ user, sql string }

func (r *refusedGrant) Error() string {
	return fmt.Sprintf("user %q may not %s: run sluice migrate as the owner of the tables and of their schema", r.user, r.sql)
}
