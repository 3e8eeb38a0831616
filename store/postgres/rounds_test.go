package postgres_test

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestRoundsOfOthersAreSeen is a node that hears of no round, as behind a pooler, and
// sees rows that wait whenever it looks: it sees how far the log goes, too.
func TestRoundsOfOthersAreSeen(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	mustRun(t, mustOpen(t, postgres.Config{DatabaseURL: url}))
	deaf := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn, holder, locker := connect(t, url), connect(t, url), connect(t, url)
	mustExec(t, locker, `BEGIN`)
	mustExec(t, locker, `LOCK TABLE sluice_log IN SHARE MODE`) // until the row is locked
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', 'e')`)
	mustExec(t, holder, `BEGIN`)
	mustExec(t, holder, `SELECT FROM sluice_outbox FOR UPDATE`)
	mustExec(t, locker, `COMMIT`)
	for after, start := int64(0), time.Now(); time.Since(start) < 2*time.Second; after++ {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, deaf, after)
		if _, err := deaf.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := deaf.Sequencing(t.Context()); err != nil {
			t.Fatalf("after %v, with a round a moment ago: %v", time.Since(start), err)
		}
	}
}
