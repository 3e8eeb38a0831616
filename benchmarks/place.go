package benchmarks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
)

// removeTimeout bounds the removal of a place, which has to happen even when
// the run was cut short.
const removeTimeout = 30 * time.Second

// place is where a node keeps its log, and how to remove it.
type place struct{ remove func() error }

// newPlace has config use a schema, or a folder, that nobody else uses.
func newPlace(ctx context.Context, config *sluice.Config) (place, error) {
	if config.DatabaseURL == "" {
		return newFolder(config)
	}
	return newSchema(ctx, config)
}

func newFolder(config *sluice.Config) (place, error) {
	folder, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return place{}, fmt.Errorf("make a folder for the embedded store: %w", err)
	}
	config.DataDir = folder
	return place{func() error { return os.RemoveAll(folder) }}, nil
}

func newSchema(ctx context.Context, config *sluice.Config) (place, error) {
	schema := "sluice_bench_" + strings.ToLower(rand.Text())
	bare := config.DatabaseURL
	remove := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		return execute(ctx, bare, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`)
	}
	if err := execute(ctx, bare, `CREATE SCHEMA `+schema); err != nil {
		// Cut short, it may have been made all the same.
		return place{}, errors.Join(fmt.Errorf("make a schema to measure in: %w", err), remove())
	}
	var err error
	if config.DatabaseURL, err = withSearchPath(bare, schema); err != nil {
		return place{}, errors.Join(err, remove())
	}
	return place{remove}, nil
}

// withSearchPath has a URL or keyword string lead to a schema.
func withSearchPath(database, schema string) (string, error) {
	if !strings.HasPrefix(database, "postgres://") && !strings.HasPrefix(database, "postgresql://") {
		return database + " search_path=" + schema, nil
	}
	u, err := url.Parse(database)
	if err != nil {
		return "", errors.New("benchmarks: the database's URL cannot be parsed") // without it: it may hold a password
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// execute runs a statement on a connection of its own.
func execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}
