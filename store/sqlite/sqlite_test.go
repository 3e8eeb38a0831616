package sqlite_test

import (
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
	"github.com/sluicehq/sluice/store/storetest"
)

func TestMain(m *testing.M) { testmain.Main(m) }

var quiet = slog.New(slog.DiscardHandler)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) storetest.Harness { return harness(t) })
}

func harness(t testing.TB) storetest.Harness {
	t.Helper()
	dir := t.TempDir()
	return storetest.Harness{
		Open: func(ctx context.Context, settings storetest.Settings) (store.Log, error) {
			log, err := sqlite.Open(ctx, sqlite.Config{Dir: dir, PollInterval: settings.Poll, Retention: settings.Retention, MaxPayload: settings.MaxPayload, MaxRevocations: settings.MaxRevocations, Logger: quiet})
			if err != nil {
				return nil, err
			}
			return log, nil
		},
		DB:            application(t, dir),
		OneWriter:     true,
		LongAgo:       `978307200000000`,
		BeginSnapshot: `BEGIN DEFERRED`,
		BeginEpoch:    `INSERT INTO sluice_epochs DEFAULT VALUES`,
		TakesAnyBytes: true,
	}
}

// application opens the file as another program would.
func application(t testing.TB, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, sqlite.FileName)+"?_txlock=immediate&_pragma=busy_timeout(900000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
