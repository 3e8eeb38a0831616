package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"path"
)

// migrations are applied in the order of their names; user_version is the
// number of those applied. One that has been released is never changed.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the tables up to this program's version. Several processes
// may do so at once: they take turns, and each asks for the version in its
// turn.
func (l *Log) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for {
		applied, err := l.applyNext(ctx, names)
		if err != nil || applied == "" {
			return err
		}
		l.logger.Info("database migrated", "migration", applied, "path", l.path)
	}
}

func (l *Log) applyNext(ctx context.Context, names []string) (applied string, err error) {
	tx, err := l.queries.BeginTx(ctx, nil)
	if err != nil {
		return "", l.failure("migrate", err)
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil {
		return "", l.failure("read the version of the tables", err)
	}
	switch {
	case version == len(names):
		return "", nil
	case version > len(names):
		return "", fmt.Errorf("sqlite: the tables in %s have version %d, this program knows up to %d: run the newer program that made them", l.path, version, len(names))
	}
	statements, err := migrations.ReadFile(names[version])
	if err != nil {
		return "", err
	}
	applied = path.Base(names[version])
	if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
		return "", l.failure("migrate: "+applied, err)
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA user_version = %d`, version+1)); err != nil {
		return "", l.failure("migrate: "+applied, err)
	}
	if err := tx.Commit(); err != nil {
		return "", l.failure("migrate: "+applied, err)
	}
	return applied, nil
}
