package baseline

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/benchmarks/target"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// Several rows of one commit are handed on in the order in which they were
// inserted, wherever in the table they lie.
func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	queue, conn := openTestQueue(t)
	last := int64(0)
	for range 20 {
		if _, err := conn.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event, payload)
			SELECT 't', 'e', json_build_object('pad', repeat('x', n % 7 * 300)) FROM generate_series(1, 30) n`); err != nil {
			t.Fatal(err)
		}
		rows, err := queue.next(t.Context())
		if err != nil || len(rows) != 30 {
			t.Fatalf("%d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			if row.id != last+1 {
				t.Fatalf("row %d comes after row %d", row.id, last)
			}
			last = row.id
		}
		if _, err := conn.Exec(t.Context(), `VACUUM sluice_outbox`); err != nil { // space is used again
			t.Fatal(err)
		}
	}
}

// What is taken is written only when that is committed.
func TestQueueCommitsFirst(t *testing.T) {
	t.Parallel()
	queue, conn := openTestQueue(t)
	if _, err := conn.Exec(t.Context(), `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$;
		CREATE CONSTRAINT TRIGGER refuse AFTER DELETE ON sluice_outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
		INSERT INTO sluice_outbox (topic, event, payload) VALUES ('t', 'e', '{}')`); err != nil {
		t.Fatal(err)
	}
	err := queue.run(t.Context(), func(rows []row) error {
		t.Errorf("%+v are written", rows)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "not today") {
		t.Errorf("it ends with %v", err)
	}
}

// openTestQueue opens a queue, and a connection beside it.
func openTestQueue(t *testing.T) (*queue, *pgx.Conn) {
	t.Helper()
	url := pgtest.Schema(t)
	queue, err := openQueue(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := queue.close(); err != nil {
			t.Error(err)
		}
	})
	return queue, connect(t, url)
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestRowFloorNeedsAPlaceOfItsOwn(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := target.Execute(t.Context(), url, `CREATE TABLE sluice_outbox ()`); err != nil {
		t.Fatal(err)
	}
	for _, database := range []string{url, "postgres://h:port/", "postgres://127.0.0.1:1/none"} {
		if err := Serve(t.Context(), "ws://127.0.0.1:0", "http://127.0.0.1:0", database); err == nil {
			t.Errorf("rows are served from %s", database)
		}
	}
}

// A floor that does not start leaves no schema behind.
func TestRowFloorThatDoesNotServe(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"no: $*\" >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	url := pgtest.Schema(t)
	_, err := (&Rows{Program: program, DatabaseURL: url}).Start(t.Context())
	if err == nil {
		t.Fatal("it serves")
	}
	schema := regexp.MustCompile(`sluice_bench_\w+`).FindString(err.Error())
	var left int
	if err := connect(t, url).QueryRow(t.Context(), `SELECT count(*) FROM pg_namespace WHERE nspname = $1`, schema).Scan(&left); err != nil || schema == "" || left != 0 {
		t.Errorf("%d schemas named %q are left, %v", left, schema, err)
	}
}
