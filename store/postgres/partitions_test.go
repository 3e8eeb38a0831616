package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store/postgres"
)

// TestPartitionsThatCannotBeMade takes that right from who serves, and only that:
// once the partitions are full, that is a stall.
func TestPartitionsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	owner, role := serving(t)
	conn := connect(t, owner)
	shrinkPartitions(t, conn, 8)
	log, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: role, PollInterval: 5 * time.Millisecond, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	mustExec(t, conn, `REVOKE EXECUTE ON FUNCTION sluice_extend_log() FROM `+userOf(t, role))
	mustRun(t, log)
	var end int
	if err := conn.QueryRow(t.Context(), `SELECT part_end FROM sluice_meta`).Scan(&end); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, $1)`, end+5)
	next(t, log, int64(end-2))
	stalled := awaitStall(t, log, true)
	for _, words := range []string{"next partition", "GRANT EXECUTE ON FUNCTION " + schemaOf(t, owner) + ".sluice_extend_log() TO " + userOf(t, role)} {
		if text := fmt.Sprint(stalled); !strings.Contains(text, words) {
			t.Errorf("the reason does not say %s: %s", words, text)
		}
	}
	mustExec(t, conn, `SELECT sluice_extend_log()`)
	next(t, log, int64(end+4))
}
