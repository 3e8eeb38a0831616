package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestPartitionsThatCannotBeMade has a role that may do everything but that: it is
// told at start, and when the partitions are full, that is a stall.
func TestPartitionsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	owner := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), owner, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, owner)
	mustExec(t, conn, `DROP ROLE IF EXISTS makes_no_partitions`)
	mustExec(t, conn, `CREATE ROLE makes_no_partitions LOGIN`)
	mustExec(t, conn, `DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO makes_no_partitions', current_schema());
		EXECUTE format('GRANT ALL ON ALL TABLES IN SCHEMA %I TO makes_no_partitions', current_schema());
		EXECUTE format('GRANT ALL ON ALL SEQUENCES IN SCHEMA %I TO makes_no_partitions', current_schema()); END $$`)
	shrinkPartitions(t, conn, 8)
	var lines syncBuffer
	log, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: strings.Replace(owner, "postgres@", "makes_no_partitions@", 1), PollInterval: 5 * time.Millisecond, Logger: textLogger(&lines)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	if !strings.Contains(lines.String(), "may not make the log's next partition") {
		t.Errorf("not told at start:\n%s", lines.String())
	}
	mustRun(t, log)
	var end int
	if err := conn.QueryRow(t.Context(), `SELECT part_end FROM sluice_meta`).Scan(&end); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, $1)`, end+5)
	next(t, log, int64(end-2))
	stalled := new(store.StalledError)
	for err := error(nil); !errors.As(err, &stalled) || stalled.Err == nil; err = log.Sequencing(t.Context()) {
	}
	if text := fmt.Sprint(stalled); !strings.Contains(text, "next partition") {
		t.Errorf("the reason is %s", text)
	}
	mustExec(t, conn, `SELECT sluice_extend_log()`)
	next(t, log, int64(end+4))
}
