package postgres_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// sqlOf returns the SQL of a document's sections, by their headings.
func sqlOf(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(text), "\n## ") {
		heading, rest, _ := strings.Cut(section, "\n")
		for _, block := range regexp.MustCompile("(?s)```sql[^\n]*\n(.*?)```").FindAllStringSubmatch(rest, -1) {
			sections[heading] += block[1]
		}
	}
	return sections
}

// TestGrantsDocument holds docs/grants.md to the rights that are checked.
func TestGrantsDocument(t *testing.T) {
	t.Parallel()
	doc := sqlOf(t, "../../docs/grants.md")
	for heading, role := range map[string]string{"Serving": "sluice_server", "Inserting": "sluice_writer", "Watching": "sluice_watcher", "Reading": "sluice_reader"} {
		var got []string
		for line := range strings.Lines(doc[heading]) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "GRANT") {
				got = append(got, line)
			}
		}
		if want := postgres.Grants("sluice")[role]; !slices.Equal(got, want) {
			t.Errorf("%s: the document has\n%s\nwant\n%s", heading, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestGrantsDocumentWorks runs its SQL on a new server, where public is closed, and
// has each role do what it is for.
func TestGrantsDocumentWorks(t *testing.T) {
	t.Parallel()
	doc := sqlOf(t, "../../docs/grants.md")
	server := pgtest.NewServer(t)
	admin := connect(t, server.URL())
	run := func(heading string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), doc[heading], pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", heading, err)
		}
	}
	url := server.URL() + "&search_path=sluice"
	run("Migrating")
	if err := postgres.Migrate(t.Context(), as(t, url, "sluice_owner"), quiet); err != nil {
		t.Fatal(err)
	}
	run("Serving")
	run("Inserting")
	run("Watching")
	run("Reading")
	log, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: as(t, server.URL(), "sluice_server"), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	mustRun(t, log)
	writer, reader := connect(t, as(t, url, "sluice_writer")), connect(t, as(t, url, "sluice_reader"))
	mustExec(t, writer, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustExec(t, writer, `SELECT sluice_publish('t', 'e', '{}'), sluice_publish('t', 'e', '{}'::json), sluice_publish('t', 'e', '{}'::jsonb, 'key')`)
	if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
		t.Fatal(err)
	}
	next(t, log, 4)
	for _, table := range []string{"sluice_log", "sluice_meta", "sluice_epochs", "sluice_cursors", "sluice_leases", "sluice_outbox", "sluice_rejected", "sluice_partitions"} {
		mustExec(t, reader, `SELECT * FROM `+table)
		if _, err := writer.Exec(t.Context(), `SELECT * FROM `+table); err == nil {
			t.Errorf("who inserts may read %s", table)
		}
	}
	for _, conn := range []*pgx.Conn{writer, reader} {
		for _, sql := range []string{`DELETE FROM sluice_log`, `TRUNCATE sluice_log`, `UPDATE sluice_meta SET trimmed = 9`, `SELECT sluice_extend_log()`, `SELECT sluice_remove_partition()`, `SELECT sluice_order_ids()`, `SELECT sluice_begin_epoch()`} {
			if _, err := conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	mustExec(t, admin, `CREATE SCHEMA shop AUTHORIZATION sluice_watcher`)
	watcher := connect(t, as(t, url, "sluice_watcher"))
	mustExec(t, watcher, `CREATE TABLE shop.orders (id int PRIMARY KEY)`)
	mustExec(t, watcher, `SELECT sluice_watch('shop.orders', 'orders')`)
	mustExec(t, watcher, `INSERT INTO shop.orders VALUES (7)`)
	if e := next(t, log, 5); e.Topic != "orders" || string(e.Key) != "7" {
		t.Errorf("a change of a table is published as %+v", e)
	}
	for _, conn := range []*pgx.Conn{writer, reader} {
		mustExec(t, conn, `SELECT * FROM sluice_position()`)
	}
	if _, err := reader.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`); err == nil {
		t.Error("who reads may insert")
	}
}

// TestClosedSchemaIsNamed has a role that owns nothing start on PostgreSQL 15, where
// only the database's owner may make tables in public: it says what to run.
func TestClosedSchemaIsNamed(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	admin := connect(t, server.URL())
	var version int
	if err := admin.QueryRow(t.Context(), `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	mustExec(t, admin, `CREATE ROLE app LOGIN`)
	mustExec(t, admin, `CREATE ROLE other LOGIN`)
	if version < 150000 {
		mustExec(t, admin, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
	}
	config := postgres.Config{DatabaseURL: as(t, server.URL(), "app"), Migrate: true, Logger: quiet}
	_, err := postgres.Open(t.Context(), config)
	const grant = `GRANT USAGE, CREATE ON SCHEMA public TO app`
	if err == nil || isUnavailable(err) || !strings.Contains(err.Error(), grant) {
		t.Fatalf("opened with %v", err)
	}
	if readme, err := os.ReadFile("../../README.md"); err != nil || !strings.Contains(string(readme), grant) {
		t.Errorf("the README does not say %s, %v", grant, err)
	}
	mustExec(t, admin, grant)
	log := mustOpen(t, config)
	mustRun(t, log)
	mustExec(t, connect(t, config.DatabaseURL), `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	next(t, log, 0)

	// Another, when the tables are of an older version.
	mustExec(t, admin, `UPDATE sluice_meta SET version = version - 1`)
	if err := postgres.Migrate(t.Context(), as(t, server.URL(), "other"), quiet); err == nil || isUnavailable(err) || !strings.Contains(err.Error(), "sluice_meta TO other") {
		t.Errorf("upgraded with %v", err)
	}
	mustExec(t, admin, `GRANT SELECT ON sluice_meta TO other`)
	if err := postgres.Migrate(t.Context(), as(t, server.URL(), "other"), quiet); err == nil || isUnavailable(err) || !strings.Contains(err.Error(), "which app owns") {
		t.Errorf("upgraded with %v", err)
	}
}
