package target

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

// removeTimeout bounds the removal of a scratch, which has to happen even when
// the run was cut short.
const removeTimeout = 30 * time.Second

// Scratch is where a node keeps its log for a run: a schema, or a folder.
type Scratch struct {
	Remove func() error // with all that is in it
}

// NewScratch has config use a schema, or a folder, that nobody else uses.
func NewScratch(ctx context.Context, config *sluice.Config) (Scratch, error) {
	if config.DatabaseURL == "" {
		return newFolder(config)
	}
	return NewSchema(ctx, config)
}

func newFolder(config *sluice.Config) (Scratch, error) {
	folder, err := os.MkdirTemp("", "sluice-bench-")
	if err != nil {
		return Scratch{}, fmt.Errorf("make a folder for the embedded store: %w", err)
	}
	config.DataDir = folder
	return Scratch{func() error { return os.RemoveAll(folder) }}, nil
}

// NewSchema has config use a schema that nobody else uses.
func NewSchema(ctx context.Context, config *sluice.Config) (Scratch, error) {
	schema := "sluice_bench_" + strings.ToLower(rand.Text())
	bare := config.DatabaseURL
	remove := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		return Execute(ctx, bare, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`)
	}
	if err := Execute(ctx, bare, `CREATE SCHEMA `+schema); err != nil {
		// Cut short, it may have been made all the same.
		return Scratch{}, errors.Join(fmt.Errorf("make a schema to measure in: %w", err), remove())
	}
	var err error
	if config.DatabaseURL, err = withSearchPath(bare, schema); err != nil {
		return Scratch{}, errors.Join(err, remove())
	}
	return Scratch{remove}, nil
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

// Execute runs a statement on a connection of its own.
func Execute(ctx context.Context, database, sql string) error {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, sql)
	return errors.Join(err, conn.Close(ctx))
}
