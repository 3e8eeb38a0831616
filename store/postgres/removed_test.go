package postgres_test

import (
	"errors"
	"fmt"
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
				h, err := log.Extent(t.Context())
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

// TestTablesAreEmptied has all tables emptied while the log is run, as who cleans up a
// database between tests does: that is told with what to do, no row is taken for one
// that cannot be stored, and once it is done the log goes on in another epoch.
func TestTablesAreEmptied(t *testing.T) {
	t.Parallel()
	for _, pooled := range []bool{false, true} {
		t.Run(fmt.Sprint(pooled), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			var lines syncBuffer
			log := mustOpen(t, postgres.Config{DatabaseURL: url, Pooled: pooled, Logger: textLogger(&lines)})
			mustRun(t, log)
			conn := connect(t, url)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 10)`)
			next(t, log, 9)
			before := epochOf(t, log)
			mustExec(t, conn, `TRUNCATE sluice_meta, sluice_epochs, sluice_log, sluice_outbox, sluice_cursors, sluice_marks, sluice_rejected`)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
			stalled := new(store.StalledError)
			for err := error(nil); !errors.As(err, &stalled); err = log.Sequencing(t.Context()) {
			}
			_, headErr := log.Head(t.Context())
			_, extentErr := log.Extent(t.Context())
			for _, err := range []error{stalled, headErr, extentErr} {
				if err == nil || !strings.Contains(err.Error(), "sluice migrate") {
					t.Errorf("it does not say what to do: %v", err)
				}
			}
			var rejected int
			if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM sluice_rejected`).Scan(&rejected); err != nil || rejected > 0 {
				t.Errorf("%d rows were rejected, %v", rejected, err)
			}
			mustExec(t, conn, `DELETE FROM sluice_outbox`)
			if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
				t.Fatal(err)
			}
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('new', 'e')`)
			var h store.Head // offsets go on where who runs the log knows them, else they begin anew
			for h.Offset == h.Trimmed {
				var err error
				if h, err = log.Head(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if e := next(t, log, h.Trimmed); e.Topic != "new" || epochOf(t, log) == before {
				t.Errorf("the first event is of %s, in the epoch of before: %v", e.Topic, epochOf(t, log) == before)
			}
		})
	}
}
