package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// onLog makes a trigger on the log that runs a statement for event "bad".
const onLog = `CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s; RETURN NEW; END $$;
	CREATE TRIGGER bad BEFORE INSERT ON sluice_log FOR EACH ROW WHEN (%s) EXECUTE FUNCTION bad()`

// TestRowIsRejectedForItsContentAlone has the log refuse rows in all ways that come
// to mind: set aside is the row that was refused, wherever it stands, and none
// where it is not the row that is at fault.
func TestRowIsRejectedForItsContentAlone(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, cause string
		rejected    string // of rows 1 to 5, of which 2 and 4 are bad
	}{
		{"nothing", `SELECT`, ""},
		{"a check", `ALTER TABLE sluice_log ADD CONSTRAINT not_bad CHECK (event <> 'bad')`, "2,4"},
		{"not null", `ALTER TABLE sluice_outbox ALTER payload DROP NOT NULL; UPDATE sluice_outbox SET payload = NULL WHERE event = 'bad'`, "2,4"},
		{"a limit", `ALTER TABLE sluice_outbox DROP CONSTRAINT sluice_topic_has_1_to_255_bytes;
			UPDATE sluice_outbox SET topic = (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1000)) WHERE event = 'bad'`, "2,4"},
		{"a data exception", fmt.Sprintf(onLog, `PERFORM 1 / 0`, `NEW.event = 'bad'`), "2,4"},
		{"a deferred one", strings.NewReplacer("CREATE TRIGGER bad BEFORE INSERT ON sluice_log", "CREATE CONSTRAINT TRIGGER bad AFTER INSERT ON sluice_log DEFERRABLE INITIALLY DEFERRED").
			Replace(fmt.Sprintf(onLog, `PERFORM 1 / 0`, `NEW.event = 'bad'`)), "2,4"},
		{"one that any row meets", fmt.Sprintf(onLog, `PERFORM 1 / 0`, `true`), ""},
		{"a limit that any row meets", fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '54000'`, `true`), ""},
		{"no partition", `DROP TABLE sluice_log_0`, ""},
		{"an offset that is taken", `ALTER TABLE sluice_log ADD UNIQUE ("offset", event); ` + fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '23505'`, `NEW.event = 'bad'`), ""},
		{"somebody's own error", fmt.Sprintf(onLog, `RAISE EXCEPTION 'no'`, `NEW.event = 'bad'`), ""},
		{"no right", fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '42501'`, `NEW.event = 'bad'`), ""},
		{"a full disk", fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '53100'`, `NEW.event = 'bad'`), ""},
		{"a shutdown", fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '57P01'`, `NEW.event = 'bad'`), ""},
		{"a deadlock", fmt.Sprintf(onLog, `RAISE EXCEPTION USING ERRCODE = '40P01'`, `NEW.event = 'bad'`), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			var lines syncBuffer
			log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
			conn := connect(t, url)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT n::text, CASE WHEN n IN (2, 4) THEN 'bad' ELSE 'good' END FROM generate_series(1, 5) n`)
			if _, err := conn.Exec(t.Context(), test.cause, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Fatal(err)
			}
			// What the search finds.
			var ids []string
			rows, err := conn.Query(t.Context(), `BEGIN`)
			if err == nil {
				rows.Close()
				rows, err = conn.Query(t.Context(), `SELECT outbox_id::text FROM sluice_reject(100, 0, 1000000)`)
			}
			if err == nil {
				ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			if err != nil || strings.Join(ids, ",") != test.rejected {
				t.Errorf("rows %v are set aside, %v; want %s", ids, err, test.rejected)
			}
			mustExec(t, conn, `ROLLBACK`)
			// What comes of it.
			mustRun(t, log)
			switch {
			case test.rejected != "":
				if next(t, log, 2).Name != "good" {
					t.Error("a bad row was sequenced")
				}
			case test.name == "nothing":
				next(t, log, 4)
			default:
				lines.await(t, "events are not sequenced", 1)
			}
			var rejected []string
			if err := conn.QueryRow(t.Context(), `SELECT coalesce(array_agg(id::text ORDER BY id), '{}') FROM sluice_rejected`).Scan(&rejected); err != nil || strings.Join(rejected, ",") != test.rejected {
				t.Errorf("rows %v were set aside, %v; want %s", rejected, err, test.rejected)
			}
		})
	}
}

// smallQueue is the URL of a schema on a server whose notification queue can really
// be filled. Before PostgreSQL 17 that takes 8 GB: real is false, and the schema is on
// the server of all tests.
func smallQueue(t *testing.T) (url string, real bool) {
	t.Helper()
	url = pgtest.Schema(t)
	var pages *string
	if err := connect(t, url).QueryRow(t.Context(), `SELECT current_setting('max_notify_queue_pages', true)`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if pages == nil {
		t.Log("this server has no max_notify_queue_pages: what a full queue does is injected")
		return url, false
	}
	t.Log("the server's queue is really full")
	return pgtest.NewServer(t, "max_notify_queue_pages=64").Schema(t), true
}

// fillNotificationQueue has every NOTIFY of Sluice's fail its commit, as it does
// while another session keeps the server's queue full. PostgreSQL raises that before
// a commit (PreCommit_Notify), never at NOTIFY, and so does a constraint that is deferred.
func fillNotificationQueue(t *testing.T, url string, real bool) {
	t.Helper()
	conn := connect(t, url)
	if real {
		listener := connect(t, url)
		mustExec(t, listener, `LISTEN mine`)
		mustExec(t, listener, `BEGIN`) // it reads none from now on
		refusal := new(pgconn.PgError)
		for n, err := 0, error(nil); !errors.As(err, &refusal); n++ {
			if _, err = conn.Exec(t.Context(), `SELECT pg_notify('mine', $1)`, fmt.Sprint(n, strings.Repeat("x", 7900))); n > 1000 {
				t.Fatal("the queue takes more than it has pages")
			}
		}
		return
	}
	mustExec(t, conn, `CREATE TABLE wakeups (n int)`)
	mustExec(t, conn, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION 'too many notifications in the NOTIFY queue' USING ERRCODE = '54000'; END $$`)
	mustExec(t, conn, `CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON wakeups DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	mustExec(t, conn, `CREATE FUNCTION notify_in_vain(text, text) RETURNS text LANGUAGE sql AS $$ INSERT INTO wakeups VALUES (1) RETURNING 'sent' $$`)
	for _, function := range []string{"sluice_sequence", "sluice_outbox_inserted"} {
		var definition string
		err := conn.QueryRow(t.Context(), `SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1 AND pronamespace = current_schema()::regnamespace`, function).Scan(&definition)
		if err != nil || !strings.Contains(definition, " pg_notify(") {
			t.Fatalf("%s does not notify, %v", function, err)
		}
		mustExec(t, conn, strings.ReplaceAll(definition, " pg_notify(", " notify_in_vain("))
	}
}

// TestFullNotificationQueueIsWhatIsInjected has a transaction notify: that is taken,
// and its commit refused, as it is where that is injected.
func TestFullNotificationQueueIsWhatIsInjected(t *testing.T) {
	t.Parallel()
	url, real := smallQueue(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	fillNotificationQueue(t, url, real)
	notify := `SELECT notify_in_vain('c', 'p')`
	if real {
		notify = `SELECT pg_notify('c', repeat('p', 7900))`
	}
	want := pgconn.PgError{Severity: "ERROR", Code: "54000", Message: "too many notifications in the NOTIFY queue"}
	is := func(err error) bool {
		got := new(pgconn.PgError)
		return errors.As(err, &got) && pgconn.PgError{Severity: got.Severity, Code: got.Code, Message: got.Message} == want
	}
	if _, err := conn.Exec(t.Context(), notify); !is(err) {
		t.Errorf("alone: %v", err)
	}
	mustExec(t, conn, `BEGIN`)
	mustExec(t, conn, notify)
	if _, err := conn.Exec(t.Context(), `COMMIT`); !is(err) {
		t.Errorf("at commit: %v", err)
	}
	var status string // the statement has its answer, and is refused after that
	if err := conn.QueryRow(t.Context(), strings.Replace(notify, "SELECT ", "SELECT 'said' || ", 1)).Scan(&status); !is(err) || status == "" {
		t.Errorf("a statement that answers %q: %v", status, err)
	}
}

// TestFullNotificationQueueStopsNothing sends events in all ways while no wake-up
// can be sent.
func TestFullNotificationQueueStopsNothing(t *testing.T) {
	t.Parallel()
	began := time.Now()
	url, real := smallQueue(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
	conn := connect(t, url)
	mustRun(t, log)
	after := int64(0)
	send := func() {
		t.Helper()
		for range 10 {
			if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
				t.Fatal(err)
			}
			next(t, log, after)
			after++
		}
	}
	send()
	fillNotificationQueue(t, url, real)
	send()
	mustExec(t, conn, `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 5000)`)
	next(t, log, after+4999)
	var rejected int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM sluice_rejected`).Scan(&rejected); err != nil || rejected > 0 {
		t.Errorf("%d good rows were set aside, %v", rejected, err)
	}
	if lines.count("notification queue is full") == 0 || lines.exceeds("notification queue is full", 1, began) {
		t.Errorf("not told once:\n%s", lines.String())
	}
}

// TestNearlyFullNotificationQueueFailsNoCommit has applications commit.
func TestNearlyFullNotificationQueueFailsNoCommit(t *testing.T) {
	t.Parallel()
	url, real := smallQueue(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	fillNotificationQueue(t, url, real)
	if !real {
		var definition string
		if err := conn.QueryRow(t.Context(), `SELECT pg_get_functiondef('sluice_outbox_inserted'::regproc)`).Scan(&definition); err != nil {
			t.Fatal(err)
		}
		mustExec(t, conn, strings.ReplaceAll(definition, "pg_notification_queue_usage()", "0.95"))
	}
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
}

// TestRefusedAppends has the database refuse what is appended.
func TestRefusedAppends(t *testing.T) {
	t.Parallel()
	invalid := []string{"22012", "22P02", "23502", "23503", "23P01", "54000", "54001"}
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	mustExec(t, conn, `CREATE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$`)
	mustExec(t, conn, `CREATE TRIGGER bad BEFORE INSERT ON sluice_outbox FOR EACH ROW EXECUTE FUNCTION bad()`)
	for _, code := range append(invalid, "23505", "23514", "25006", "40001", "40P01", "42501", "42P01", "53100", "53200", "55P03", "57014", "P0001", "XX000", "0A000") {
		mustExec(t, conn, fmt.Sprintf(`CREATE OR REPLACE FUNCTION bad() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '%s'; END $$`, code))
		err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}})
		_, isInvalid := err.(*store.InvalidError)
		if want := slices.Contains(invalid, code); isInvalid != want || store.RetrySafe(err) == want {
			t.Errorf("%s: invalid %v, safe to try again %v: %v", code, isInvalid, store.RetrySafe(err), err)
		}
	}
}
