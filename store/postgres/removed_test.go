package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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
		mustExec(t, conn, `SET LOCAL session_replication_role = replica`)
		mustExec(t, conn, `TRUNCATE sluice_log`)
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
			stalled := awaitStall(t, log, false)
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

// TestHolesInPartitionsAreSeenAtOnce removes events 16 to 23 of 40, or some of them,
// by way of their partition. From that moment on nobody who has not got past them is
// told that there is nothing missing.
func TestHolesInPartitionsAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, sql string
		last      int64 // that is gone
	}{
		{"an event", `DELETE FROM sluice_log_16 WHERE "offset" = 20`, 20},
		{"some", `DELETE FROM sluice_log_16 WHERE "offset" IN (17, 19)`, 19},
		{"all", `DELETE FROM sluice_log_16`, 23},
		{"truncated", `TRUNCATE sluice_log_16`, 23},
		{"from elsewhere", `SET search_path = pg_catalog; TRUNCATE %s.sluice_log_16; RESET search_path`, 23},
		{"the log's, for comparison", `DELETE FROM sluice_log WHERE "offset" = 20`, 20},
		{"detached", `ALTER TABLE sluice_log DETACH PARTITION sluice_log_16`, 23},
		{"detached, and another made", `ALTER TABLE sluice_log DETACH PARTITION sluice_log_16; SELECT sluice_extend_log()`, 23},
		{"detached concurrently", `ALTER TABLE sluice_log DETACH PARTITION sluice_log_16 CONCURRENTLY`, 23},
		{"dropped", `DROP TABLE sluice_log_16`, 23},
		{"two dropped", `DROP TABLE sluice_log_8, sluice_log_16`, 23},
		{"dropped, with the front", `DROP TABLE sluice_log_0, sluice_log_16`, 23},
	} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(test.name, " ", running), func(t *testing.T) {
				t.Parallel()
				url := pgtest.Schema(t)
				log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
				conn := connect(t, url)
				shrinkPartitions(t, conn, 8)
				insertMany(t, log, url, 40)
				before := epochOf(t, log)
				if running {
					mustRun(t, log)
				}
				if _, err := conn.Exec(t.Context(), inSchema(test.sql, schemaOf(t, url)), pgx.QueryExecModeSimpleProtocol); err != nil {
					t.Fatal(err)
				}
				wantHole(t, log, before, test.last)
				if !running {
					mustRun(t, log)
				}
				for epochOf(t, log) == before {
					if err := log.Wait(t.Context(), 1<<62); err != nil { // for the poll
						t.Fatal(err)
					}
				}
				wantHole(t, log, before, test.last)
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
				if e := next(t, log, 40); e.Offset != 41 {
					t.Errorf("the log goes on at %d", e.Offset)
				}
			})
		}
	}
}

// insertMany has so many events of topic t be sequenced. It waits until the log shows them
// all, and not until the outbox is empty: while a round commits that made a partition, its
// rows are out of the outbox for everybody, and for a moment the partition is there for nobody.
func insertMany(t *testing.T, log *postgres.Log, url string, events int) {
	t.Helper()
	conn := connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, $1)`, events)
	runUntil(t, log, conn, countRows, events)
}

// wantHole expects a hole up to an offset to be seen by who resumes, replays and
// fetches, and everything after it to be there.
func wantHole(t *testing.T, log *postgres.Log, epoch string, last int64) {
	t.Helper()
	extent, err := log.Extent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if head, err := log.Head(t.Context()); err != nil || head.Trimmed != extent.Trimmed || head.Offset != 40 {
		t.Errorf("the head is %+v, %v; the extent %+v", head, err, extent)
	}
	for after := range int64(40) {
		want := error(nil)
		if after < last {
			want = store.ErrTrimmed
		}
		if _, whole := extent.Resume(store.Cursor{Epoch: epoch, Offset: after}); whole != (want == nil) {
			t.Errorf("%d resumes whole: %v, of %+v", after, whole, extent)
		}
		if _, _, err := log.Replay(t.Context(), "t", after, 40, store.Limit{Events: 100}); !errors.Is(err, want) {
			t.Errorf("replayed after %d with %v, want %v", after, err, want)
		}
		for _, limit := range []int{1, 100} {
			events, err := log.Fetch(t.Context(), after, store.Limit{Events: limit})
			if want == nil && (err != nil || len(events) == 0 || events[0].Offset != after+1) {
				t.Errorf("fetched %d after %d, %v", len(events), after, err)
			}
			if want != nil && !errors.Is(err, want) && len(events) == 0 { // what lies before it may still be read
				t.Errorf("fetched nothing after %d, with %v", after, err)
			}
		}
	}
}

// TestHolesThatNoTriggerSeesAreSkipped has a whole partition be emptied with triggers
// off, which is more than who reads asks for at once: that finds out.
func TestHolesThatNoTriggerSeesAreSkipped(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	shrinkPartitions(t, conn, 8)
	insertMany(t, log, url, 40)
	mustExec(t, conn, `SET session_replication_role = replica`)
	mustExec(t, conn, `TRUNCATE sluice_log_16`)
	if events, err := log.Fetch(t.Context(), 15, store.Limit{Events: 3}); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("fetched %d events, %v; want %v", len(events), err, store.ErrTrimmed)
	}
	wantHole(t, log, epochOf(t, log), 23)
}

// TestPartitionsComeAndGo detaches one with all that was removed from it, which is
// nobody's concern any more, and attaches one that has no triggers: it is given them.
func TestPartitionsComeAndGo(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
	conn := connect(t, url)
	shrinkPartitions(t, conn, 8)
	insertMany(t, log, url, 40)
	mustExec(t, conn, `ALTER TABLE sluice_log DETACH PARTITION sluice_log_0`)
	mustExec(t, conn, `CREATE SCHEMA `+schemaOf(t, url)+`_archive`)
	mustExec(t, conn, `ALTER TABLE sluice_log_0 SET SCHEMA `+schemaOf(t, url)+`_archive`)
	for _, sql := range []string{`UPDATE %s_archive.sluice_log_0 SET payload = '{}'`, `DELETE FROM %s_archive.sluice_log_0 WHERE "offset" = 3`, `TRUNCATE %s_archive.sluice_log_0`} {
		mustExec(t, conn, inSchema(sql, schemaOf(t, url)))
	}
	wantHole(t, log, epochOf(t, log), 7)

	runUntil(t, log, conn, `SELECT (parts = (SELECT sum(inhrelid::bigint) FROM pg_inherits WHERE inhparent = 'sluice_log'::regclass))::integer FROM sluice_meta`, 1)
	before := epochOf(t, log)
	mustExec(t, conn, `BEGIN`)
	mustExec(t, conn, `CREATE TABLE mine (LIKE sluice_log INCLUDING ALL)`)
	mustExec(t, conn, `INSERT INTO mine SELECT * FROM sluice_log_16`)
	mustExec(t, conn, `DROP TABLE sluice_log_16`)
	mustExec(t, conn, `ALTER TABLE sluice_log ATTACH PARTITION mine FOR VALUES FROM (16) TO (24)`)
	mustExec(t, conn, `COMMIT`)
	runUntil(t, log, conn, `SELECT count(*) FROM pg_trigger WHERE tgrelid = 'mine'::regclass AND tgname = 'sluice_log_deleted'`, 1)
	if epochOf(t, log) != before {
		t.Error("an epoch has begun for a partition that was replaced")
	}
	mustExec(t, conn, `DELETE FROM mine WHERE "offset" = 17`)
	wantHole(t, log, before, 17)

	refusal := new(pgconn.PgError)
	for _, table := range []string{"sluice_log", "sluice_log_24", "mine"} {
		if _, err := conn.Exec(t.Context(), `UPDATE `+table+` SET "offset" = "offset" + 1`); !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "keeps its offset") {
			t.Errorf("%s: events were given other offsets, %v", table, err)
		}
	}
}
