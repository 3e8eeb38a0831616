package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// next fetches one event, waiting for it.
func next(t *testing.T, log *postgres.Log, after int64) store.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		events, err := log.Fetch(ctx, after, store.Limit{Events: 1})
		if err != nil {
			t.Fatalf("fetch after %d: %v", after, err)
		}
		if len(events) == 1 {
			return events[0]
		}
		if err := log.Wait(ctx, after); err != nil {
			t.Fatalf("wait after %d: %v", after, err)
		}
	}
}

// TestPublish calls sluice_publish in all its forms, from a session that does
// not have the tables on its search_path.
func TestPublish(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	app := connect(t, url)
	var schema string
	if err := app.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	mustExec(t, app, `SET search_path = pg_catalog`)

	for i, test := range []struct{ call, payload, key string }{
		{`('t', 'e', '{"id":  7}')`, `{"id":  7}`, ""},
		{`('t', 'e', '{"id":  7}', 'k')`, `{"id":  7}`, "k"},
		{`('t', 'e', '{"id":  7}'::text, 'k')`, `{"id":  7}`, "k"},
		{`('t', 'e', '{"id":  7}'::json)`, `{"id":  7}`, ""},
		{`('t', 'e', '{"id":  7}'::jsonb, 'k')`, `{"id": 7}`, "k"},
		{`('t', 'e', json_build_object('id', 7), key => 'k')`, `{"id" : 7}`, "k"},
		{`(topic => 't', event => 'e', payload => jsonb_build_object('id', 7))`, `{"id": 7}`, ""},
	} {
		mustExec(t, app, `SELECT `+schema+`.sluice_publish`+test.call)
		e := next(t, log, int64(i))
		if e.Topic != "t" || e.Name != "e" || string(e.Payload) != test.payload || string(e.Key) != test.key || (e.Key == nil) != (test.key == "") {
			t.Errorf("sluice_publish%s: got %+v with payload %s", test.call, e, e.Payload)
		}
	}
	for _, call := range []string{`('t', 'e', 'no JSON')`, `('t', 'e', '[]')`, `('t', 'e', '[]'::jsonb)`, `('', 'e', '{}')`, `('t', 'phx_e', '{}')`, `('t', 'e', NULL::json)`} {
		if _, err := app.Exec(t.Context(), `SELECT `+schema+`.sluice_publish`+call); err == nil {
			t.Errorf("sluice_publish%s was taken", call)
		}
	}
}

// TestInsertNeedsNoMoreRights writes as a user who may insert and nothing else.
func TestInsertNeedsNoMoreRights(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	app := connect(t, url)
	var schema string
	if err := app.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	role := schema + "_writer" // roles belong to the whole server
	mustExec(t, app, `CREATE ROLE `+role)
	mustExec(t, app, `GRANT USAGE ON SCHEMA `+schema+` TO `+role)
	mustExec(t, app, `GRANT INSERT ON sluice_outbox TO `+role)
	mustExec(t, app, `SET ROLE `+role)
	mustExec(t, app, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustExec(t, app, `SELECT sluice_publish('t', 'e', '{}')`)
	next(t, log, 1)
	if _, err := app.Exec(t.Context(), `SELECT * FROM sluice_log`); err == nil || !strings.Contains(err.Error(), "permission") {
		t.Errorf("the writer may read the log: %v", err)
	}
}

// TestInstallationsDoNotMeet has two in one database, one of which would be
// stopped by the other's locks, or woken by its notifications.
func TestInstallationsDoNotMeet(t *testing.T) {
	t.Parallel()
	var logs []*postgres.Log
	for range 2 {
		log := mustOpen(t, postgres.Config{DatabaseURL: pgtest.Schema(t)})
		mustRun(t, log)
		logs = append(logs, log)
	}
	for after := range int64(5) {
		for i, log := range logs {
			if i == 1 && after >= 3 {
				continue
			}
			if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
				t.Fatal(err)
			}
			next(t, log, after)
		}
	}
	for i, want := range []int64{5, 3} {
		if head, err := logs[i].Head(t.Context()); err != nil || head.Offset != want {
			t.Errorf("log %d ends at %d, %v; want %d", i, head.Offset, err, want)
		}
	}
}

// TestTransactionsWake writes in all the ways in which the note that a
// transaction wakes the sequencer could outlive what wakes it, or not live long
// enough.
func TestTransactionsWake(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	mustOpen(t, postgres.Config{DatabaseURL: url})
	listener, app := connect(t, url), connect(t, url)
	var outbox uint32
	if err := app.QueryRow(t.Context(), `SELECT 'sluice_outbox'::regclass::oid`).Scan(&outbox); err != nil {
		t.Fatal(err)
	}
	mustExec(t, listener, fmt.Sprintf(`LISTEN sluice_outbox_%d`, outbox))
	mustExec(t, listener, `LISTEN silence`)
	mustExec(t, app, `CREATE FUNCTION publish() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT SET work_mem = '1MB' AS
		$$ BEGIN INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e'); END $$`)

	const insert = `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 3)`
	for _, test := range []struct {
		name       string
		statements []string
		wakes      bool
	}{
		{"at once", []string{insert}, true},
		{"once more", []string{insert}, true},
		{"in a transaction", []string{"BEGIN", insert, insert, "COMMIT"}, true},
		{"rolled back", []string{"BEGIN", insert, "ROLLBACK"}, false},
		{"after that", []string{"BEGIN", insert, "COMMIT"}, true},
		{"all of it rolled back", []string{"BEGIN", "SAVEPOINT a", insert, "ROLLBACK TO a", "COMMIT"}, false},
		{"the first rolled back", []string{"BEGIN", "SAVEPOINT a", insert, "ROLLBACK TO a", insert, "COMMIT"}, true},
		{"the second rolled back", []string{"BEGIN", insert, "SAVEPOINT a", insert, "ROLLBACK TO a", "COMMIT"}, true},
		{"in a part that stays", []string{"BEGIN", "SAVEPOINT a", insert, "RELEASE a", insert, "COMMIT"}, true},
		{"in a function with settings of its own", []string{"BEGIN", "SELECT publish()", "COMMIT"}, true},
		{"before and after such a function", []string{"BEGIN", "SELECT publish()", "SELECT publish()", insert, "COMMIT"}, true},
		{"with triggers that do not wait", []string{"BEGIN", "SET CONSTRAINTS ALL IMMEDIATE", insert, insert, "COMMIT"}, true},
	} {
		for _, statement := range test.statements {
			mustExec(t, app, statement)
		}
		mustExec(t, app, `NOTIFY silence`)
		woken := false
		for {
			n, err := listener.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Channel == "silence" {
				break
			}
			woken = true
		}
		if woken != test.wakes {
			t.Errorf("%s: woken is %v", test.name, woken)
		}
	}
}
