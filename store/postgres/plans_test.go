package postgres_test

import (
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestReadsKeepToTheIndex reads a log that is small, of which the planner knows
// that: plans that it makes now are kept when the log has grown.
func TestReadsKeepToTheIndex(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	conn := connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't' || n, 'e' FROM generate_series(1, 50) n`)
	next(t, log, 49)
	mustExec(t, conn, `VACUUM ANALYZE sluice_log`)

	scans := func() (byIndex, all int64) {
		t.Helper()
		err := conn.QueryRow(t.Context(), `SELECT sum(idx_scan), sum(seq_scan) FROM pg_stat_user_tables
			WHERE schemaname = current_schema() AND relname LIKE 'sluice\_log\_%'`).Scan(&byIndex, &all)
		if err != nil {
			t.Fatal(err)
		}
		return byIndex, all
	}
	byIndex, all := scans()
	for now := byIndex; now < byIndex+50; now, _ = scans() { // the server publishes its counts once a second
		if _, err := log.Fetch(t.Context(), 10, store.Limit{Events: 10}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := log.Replay(t.Context(), "t7", 0, 50, store.Limit{Events: 10}); err != nil {
			t.Fatal(err)
		}
		if _, err := log.Tail(t.Context(), "t7", 10, 50, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, now := scans(); now > all {
		t.Errorf("the log was read as a whole %d times", now-all)
	}
}
