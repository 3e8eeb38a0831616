package postgres_test

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestOffsetsAreNeverGivenOutAgain has rows removed in ways that only a server has,
// with the triggers that see it and without them, while the log is run and not.
func TestOffsetsAreNeverGivenOutAgain(t *testing.T) {
	t.Parallel()
	for _, sql := range []string{
		`TRUNCATE sluice_log`,
		`SET search_path = pg_catalog; TRUNCATE %s.sluice_log; RESET search_path`,
		`DO $$ BEGIN EXECUTE 'TRUNCATE ' || (SELECT part FROM sluice_partitions ORDER BY first LIMIT 1); END $$`,
		`SET session_replication_role = replica; TRUNCATE sluice_log`,
		`SET session_replication_role = replica; DELETE FROM sluice_log WHERE "offset" > 2`,
		`SET session_replication_role = replica; DELETE FROM sluice_log WHERE "offset" IN (2, 4)`,
	} {
		for _, running := range []bool{false, true} {
			t.Run(sql, func(t *testing.T) {
				t.Parallel()
				url := pgtest.Schema(t)
				log := mustOpen(t, postgres.Config{DatabaseURL: url})
				insertAll(t, log, url, "a", "b", "c", "d", "e")
				before := epochOf(t, log)
				if running {
					mustRun(t, log)
				}
				if err := log.Commit(t.Context(), "node", store.Cursor{Epoch: before, Offset: 5}); err != nil {
					t.Fatal(err)
				}
				mustExec(t, connect(t, url), inSchema(sql, schemaOf(t, url)))
				log.Fetch(t.Context(), 0, store.Limit{Events: 10}) // a reader may be who notices
				if !running {
					mustRun(t, log)
				}
				for epochOf(t, log) == before {
					if err := log.Wait(t.Context(), 5); err != nil {
						t.Fatal(err)
					}
				}
				mustExec(t, connect(t, url), `INSERT INTO sluice_outbox (topic, event) VALUES ('f', 'e')`)
				if e := next(t, log, 5); e.Offset != 6 || e.Topic != "f" {
					t.Errorf("the next event is %s at %d", e.Topic, e.Offset)
				}
				h, err := log.History(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for after, want := range []bool{5: true} {
					if _, whole := h.Resume(store.Cursor{Epoch: before, Offset: int64(after)}); whole != (want || after == 4 && h.Trimmed == 4) {
						t.Errorf("%d resumes: %v, of %+v", after, whole, h)
					}
				}
			})
		}
	}
}

func inSchema(sql, schema string) string { return strings.ReplaceAll(sql, "%s", schema) }

// TestRemovedAndWrittenAtOnce gives the sequencer no moment between losing the log's
// end, with no trigger that sees it, and having something to give offsets to.
func TestRemovedAndWrittenAtOnce(t *testing.T) {
	t.Parallel()
	for _, pooled := range []bool{false, true} {
		url := pgtest.Schema(t)
		log := mustOpen(t, postgres.Config{DatabaseURL: url, Pooled: pooled})
		insertAll(t, log, url, "a", "b", "c", "d", "e")
		before := epochOf(t, log)
		if err := log.Commit(t.Context(), "node", store.Cursor{Epoch: before, Offset: 5}); err != nil {
			t.Fatal(err)
		}
		mustRun(t, log)
		conn := connect(t, url)
		mustExec(t, conn, `BEGIN`)
		mustExec(t, conn, `DO $$ BEGIN EXECUTE 'TRUNCATE ' || (SELECT part FROM sluice_partitions ORDER BY first LIMIT 1); END $$`)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('f', 'e')`)
		mustExec(t, conn, `COMMIT`)
		if e := next(t, log, 5); e.Offset != 6 || e.Topic != "f" {
			t.Errorf("the next event is %s at %d", e.Topic, e.Offset)
		}
		if epochOf(t, log) == before {
			t.Error("no epoch has begun")
		}
	}
}
