package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// migrations are applied in the order of their names; the first makes version
// 1. One that has been released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migrate creates the tables in the database that databaseURL names, or
// upgrades them to this program's version. Several may do so at once: one
// does the work, the others wait for it.
func Migrate(ctx context.Context, databaseURL string, logger *slog.Logger) error {
	server, err := newServer(Config{DatabaseURL: databaseURL})
	if err != nil {
		return err
	}
	if logger == nil {
		logger = slog.Default()
	}
	return server.prepare(ctx, true, logger)
}

// lockNotAvailable is what comes of a lock_timeout; writers that have waited
// behind a migration go on before it is tried again.
const (
	lockNotAvailable = "55P03"
	migrationPause   = time.Second
)

func (s *server) migrate(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	told := false
	for {
		applied, err := s.applyNext(ctx, conn, names)
		var refusal *pgconn.PgError
		if errors.As(err, &refusal) && refusal.Code == lockNotAvailable {
			if !told {
				logger.Warn("the migration waits for a transaction that has written events and is still open; pg_stat_activity shows whose it is", "addr", s.addr)
				told = true
			}
			select {
			case <-time.After(migrationPause):
				continue
			case <-ctx.Done():
			}
		}
		if err != nil {
			return err
		}
		if applied == "" {
			return s.checkVersion(ctx, conn)
		}
		logger.Info("database migrated", "migration", applied, "addr", s.addr, "database", conn.Config().Database)
	}
}

// applyNext applies the migration that is due, if there is one, in one
// transaction. The lock makes nodes that start together take turns; each asks
// for the version once it has the lock.
func (s *server) applyNext(ctx context.Context, conn *pgx.Conn, names []string) (applied string, err error) {
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// 4 is the kind of migrating; see the first migration.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(1936487684, quote_ident(current_schema())::regnamespace::oid::integer)`); err != nil {
			return err
		}
		version, err := s.schemaVersion(ctx, tx)
		if errors.Is(err, errNoMeta) {
			version, err = fillMeta(ctx, tx)
		}
		if err != nil || version >= len(names) {
			return err
		}
		if err := s.checkMigrating(ctx, tx); err != nil {
			return err
		}
		statements, err := migrations.ReadFile(names[version])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, string(statements)); err != nil {
			return fmt.Errorf("%s: %w", path.Base(names[version]), err)
		}
		applied = path.Base(names[version])
		return noteVersion(ctx, tx, version+1)
	})
	if refused := new(forGood); errors.As(err, &refused) {
		return "", refused.error
	}
	if err != nil {
		return "", s.failure("migrate", err, reads)
	}
	return applied, nil
}

// checkVersion wants the tables to be those of this program.
func (s *server) checkVersion(ctx context.Context, conn *pgx.Conn) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	version, err := s.schemaVersion(ctx, conn)
	switch {
	case err != nil:
		return s.failure("read the version of the tables", err, reads)
	case version == 0:
		return fmt.Errorf("postgres: database %q at %s has no sluice tables on its search_path: run sluice migrate", conn.Config().Database, s.addr)
	case version < len(names):
		return fmt.Errorf("postgres: the tables in database %q at %s have version %d, this program needs %d: run sluice migrate", conn.Config().Database, s.addr, version, len(names))
	case version > len(names):
		return fmt.Errorf("postgres: the tables in database %q at %s have version %d, this program knows up to %d: run the newer program that made them", conn.Config().Database, s.addr, version, len(names))
	}
	return nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// schemaVersion is 0 where there are no tables. The catalog is asked, as a session may
// believe for as long as a transaction lasts that a name does not exist.
func (s *server) schemaVersion(ctx context.Context, q querier) (version int, err error) {
	var exists bool
	if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relname = 'sluice_meta' AND nspname = $1)`, s.schema).Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = q.QueryRow(ctx, `SELECT version FROM sluice_meta`).Scan(&version)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errNoMeta
	}
	return version, err
}
