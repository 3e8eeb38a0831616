package postgres_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestRevokedRightsAreSeen takes a right to each kind of object away from a log that runs and
// has nothing to do: it says what to run, and nothing more once that is done. What it
// looks at is what Open does, which TestEachMissingRightIsNamed has each of.
func TestRevokedRightsAreSeen(t *testing.T) {
	t.Parallel()
	admin, role := serving(t)
	conn := connect(t, admin)
	log := mustOpen(t, postgres.Config{DatabaseURL: role})
	for _, object := range []string{"TABLE sluice_cursors", "SEQUENCE sluice_outbox_id_seq", "FUNCTION sluice_trim(interval)"} {
		kind, name, _ := strings.Cut(object, " ")
		from, all := userOf(t, role), ""
		for _, grant := range postgres.ServingRights(schemaOf(t, admin), from) {
			if strings.Contains(grant, "."+name) {
				all += grant + ";"
			}
		}
		mustExec(t, conn, `REVOKE ALL ON `+object+` FROM PUBLIC, `+from)
		log.VetNow()
		if err := log.Sequencing(t.Context()); err == nil || !strings.Contains(err.Error(), "lacks rights") || !strings.Contains(err.Error(), "."+name) {
			t.Errorf("without a right to %s %s: %v", kind, name, err)
		}
		mustExec(t, conn, all)
		if err := log.Sequencing(t.Context()); err != nil {
			t.Errorf("with all rights: %v", err)
		}
	}
}

// TestRefusedWritesAreSeen has the database refuse what a node writes by itself, with
// nothing to sequence, as it does when its disk is full, and has somebody lock the
// tables for that: the log says so, with what to do, and nothing more once it is over.
func TestRefusedWritesAreSeen(t *testing.T) {
	t.Parallel()
	const full = `CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
		CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION full_disk()`
	for _, test := range []struct {
		name, table, take, give string
		words                   []string
	}{
		{"events on a full disk", "sluice_outbox", full, `DROP TRIGGER full_disk ON %s`, []string{"No space left", "make room"}},
		{"a position on a full disk", "sluice_cursors", full, `DROP TRIGGER full_disk ON %s`, []string{"No space left", "make room"}},
		{"a lease on a full disk", "sluice_leases", full, `DROP TRIGGER full_disk ON %s`, []string{"No space left", "make room"}},
		{"a position behind a lock", "sluice_cursors", `BEGIN; LOCK TABLE %s`, `COMMIT`, []string{"AccessExclusiveLock on sluice_cursors", "pg_terminate_backend"}},
		{"a lease behind a lock", "sluice_leases", `BEGIN; LOCK TABLE %s IN EXCLUSIVE MODE`, `COMMIT`, []string{"ExclusiveLock on sluice_leases", "pg_terminate_backend"}},
		{"all behind a lock", "sluice_meta", `BEGIN; LOCK TABLE %s`, `COMMIT`, []string{"AccessExclusiveLock on sluice_meta", "pg_terminate_backend"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			log := mustOpen(t, postgres.Config{DatabaseURL: url})
			mustRun(t, log)
			lease, err := log.Acquire(t.Context(), store.Claim{Name: "n", Holder: "h", Term: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			epoch := epochOf(t, log)
			write := func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				switch test.table {
				case "sluice_outbox":
					_ = log.Append(ctx, []store.Draft{{Topic: "t", Name: "e"}})
				case "sluice_cursors":
					_ = log.Commit(ctx, "n", store.Cursor{Epoch: epoch})
				case "sluice_leases":
					_ = log.Renew(ctx, lease)
				}
			}
			// look is what the service does each second.
			look := func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if _, err := log.Head(ctx); err != nil {
					return err
				}
				return log.Sequencing(ctx)
			}
			write()
			until(t, "writes are taken again", func() bool { return look() == nil })
			conn := connect(t, url)
			mustExec(t, conn, strings.ReplaceAll(test.take, "%s", test.table))
			written := make(chan struct{}) // closed when the last write has ended
			over, stop := context.WithCancel(t.Context())
			go func() {
				defer close(written)
				for over.Err() == nil {
					write()
					time.Sleep(10 * time.Millisecond) // between attempts: a node makes one each second
				}
			}()
			awaitReason(t, look, test.words...)
			stop()
			mustExec(t, conn, strings.ReplaceAll(test.give, "%s", test.table))
			<-written
			if test.table != "sluice_outbox" { // of which an attempt of the log's own tells
				write()
			}
			until(t, "writes are taken again", func() bool { return look() == nil })
		})
	}
}

// awaitReason looks until the reason that is given has all of these words: on a slow machine
// there may be others before it.
func awaitReason(t *testing.T, look func() error, words ...string) {
	t.Helper()
	until(t, "the reason is given: "+strings.Join(words, ", "), func() bool {
		err := look()
		return err != nil && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(err.Error(), word) })
	})
}

// TestRefusedDataIsNoOutage has the application's own trigger refuse an event: the store
// takes writes.
func TestRefusedDataIsNoOutage(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	mustExec(t, conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such topic'; END $$`)
	mustExec(t, conn, `CREATE TRIGGER refuse BEFORE INSERT ON sluice_outbox FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err == nil {
		t.Error("appended")
	}
	if err := log.Sequencing(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestRefusedAttemptIsNoOutage has the application's own trigger refuse what the log tries
// after an outage: that is over all the same.
func TestRefusedAttemptIsNoOutage(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	mustExec(t, conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$`)
	mustExec(t, conn, `CREATE TRIGGER refuse BEFORE INSERT ON sluice_outbox FOR EACH ROW EXECUTE FUNCTION refuse()`)
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err == nil {
		t.Error("appended")
	}
	if err := log.Sequencing(t.Context()); err == nil {
		t.Error("ready while it takes no events")
	}
	mustExec(t, conn, `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no such topic'; END $$`)
	if err := log.Sequencing(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNobodyLeads has a session that is no node's keep all nodes from the lead: the log
// says which, and what to do, which mends it.
func TestNobodyLeads(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	holder, conn := connect(t, url+"&application_name=forgotten"), connect(t, url)
	mustExec(t, holder, `SELECT pg_advisory_lock(1936487683, 'sluice_outbox'::regclass::oid::integer)`)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	kill := `SELECT pg_terminate_backend(` + pidOf(t, holder) + `)`
	awaitReason(t, func() error { return log.Sequencing(t.Context()) }, kill, "forgotten")
	mustExec(t, conn, kill)
	next(t, log, 0)
	until(t, "events are sequenced again", func() bool { return log.Sequencing(t.Context()) == nil })
}

func pidOf(t *testing.T, conn *pgx.Conn) (pid string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), `SELECT pg_backend_pid()::text`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestAbsentNodesAreNamed is a node that does not run the log: where no other does, it
// says what to do, and where one leads and is kept from it, which.
func TestAbsentNodesAreNamed(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Node: "watching"})
	conn := connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	for _, test := range []struct{ leads, words string }{
		{`SELECT`, "no node leads: start one"},
		{`INSERT INTO sluice_leases (name, holder, until) VALUES ('leader', 'elsewhere', now() + interval '1 hour')`, "node elsewhere leads: its log says why"},
	} {
		mustExec(t, conn, test.leads)
		awaitReason(t, func() error { return log.Sequencing(t.Context()) }, test.words)
	}
}
