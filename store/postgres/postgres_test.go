package postgres_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // how applications reach the store here

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/storetest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m))
}

// quiet is for tests that take the database away.
var quiet = slog.New(slog.DiscardHandler)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		if t.Name() == "TestConformance/DatabaseGoesAway" {
			server := pgtest.NewServer(t)
			h := harness(t, postgres.Config{DatabaseURL: server.Schema(t)})
			h.Stop, h.Kill, h.Start = server.Stop, server.Kill, server.Start
			return h
		}
		return harness(t, postgres.Config{DatabaseURL: pgtest.Schema(t)})
	})
}

// TestConformanceThroughPooler uses what a transaction pooler leaves: neither
// notifications nor session locks nor prepared statements.
func TestConformanceThroughPooler(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness {
		h := harness(t, postgres.Config{DatabaseURL: pgtest.Schema(t), Pooled: true})
		h.Announces = false
		return h
	})
}

func harness(t testing.TB, config postgres.Config) storetest.Harness {
	t.Helper()
	db, err := sql.Open("pgx", config.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	config.Migrate, config.Logger = true, quiet
	return storetest.Harness{
		Open: func(ctx context.Context, settings storetest.Settings) (store.Log, error) {
			config := config // Open is called concurrently
			config.PollInterval, config.Retention, config.MaxPayload, config.MaxRevocations = settings.Poll, settings.Retention, settings.MaxPayload, settings.MaxRevocations
			return open(ctx, config)
		},
		DB:            db,
		Announces:     true,
		LongAgo:       `timestamptz '2001-01-01'`,
		BeginSnapshot: `BEGIN ISOLATION LEVEL REPEATABLE READ`,
		BeginEpoch:    `SELECT sluice_begin_epoch()`,
	}
}

// open keeps a failure from becoming a log that is not nil.
func open(ctx context.Context, config postgres.Config) (store.Log, error) {
	log, err := postgres.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	return log, nil
}
