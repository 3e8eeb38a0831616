package main

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice"
)

// migrateCmd prepares the store, for those who let nothing that serves change
// tables.
type migrateCmd struct {
	DatabaseURL string   `group:"Store" placeholder:"URL" also:"DATABASE_URL" help:"Postgres to prepare; none: the embedded store."`
	DataDir     string   `group:"Store" placeholder:"DIR" help:"Folder of the embedded store; it is created."`
	Log         logFlags `embed:""`
}

// Help says more than the one line of the summary.
func (m *migrateCmd) Help() string {
	return `It is safe to run again, and from several places at once. The service does the same at its start, unless it runs with --migrate=false.`
}

// Examples implements exemplary.
func (m *migrateCmd) Examples() string {
	return `sluice migrate
sluice migrate --database-url postgres://owner:secret@localhost/app
DATABASE_URL=postgres://owner:secret@localhost/app sluice migrate`
}

// Run is called by kong.
func (m *migrateCmd) Run(ctx context.Context, p process) error {
	logger, err := m.Log.logger(p.stderr)
	if err != nil {
		return err
	}
	cfg := sluice.DefaultConfig()
	cfg.DatabaseURL, cfg.DataDir, cfg.Logger = m.DatabaseURL, m.DataDir, logger
	if err := sluice.Migrate(ctx, cfg); err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, "the tables are up to date")
	return err
}
