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
	GrantTo     string   `group:"Store" placeholder:"ROLE" help:"Database role to give all rights that serving needs; it need not own anything."`
	Log         logFlags `embed:""`
}

// Help says more than the one line of the summary.
func (m *migrateCmd) Help() string {
	return `It is safe to run again, and from several places at once. The service does the same at its start, unless it runs with --migrate=false. With --grant-to, another role than the owner of the tables can serve: grant again after an upgrade. docs/grants.md has the SQL, and that of roles that insert or read.`
}

// Examples implements exemplary.
func (m *migrateCmd) Examples() string {
	return `sluice migrate
sluice migrate --database-url postgres://owner:secret@localhost/app --grant-to server
DATABASE_URL=postgres://owner:secret@localhost/app sluice migrate`
}

// Run is called by kong.
func (m *migrateCmd) Run(ctx context.Context, p process) error {
	logger, err := m.Log.logger(p.stderr)
	if err != nil {
		return err
	}
	if m.GrantTo != "" && m.DatabaseURL == "" {
		return &usageError{"--grant-to", m.GrantTo, "a role of the database that --database-url names; the embedded store has none"}
	}
	cfg := sluice.DefaultConfig()
	cfg.DatabaseURL, cfg.DataDir, cfg.Logger = m.DatabaseURL, m.DataDir, logger
	if err := sluice.Migrate(ctx, cfg); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.stdout, "the tables are up to date"); err != nil || m.GrantTo == "" {
		return err
	}
	if err := sluice.Grant(ctx, cfg, m.GrantTo); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "role %q has the rights that serving needs\n", m.GrantTo)
	return err
}
