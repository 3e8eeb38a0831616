package sluice_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/store/postgres"
)

// watched is a node that is ready, its log, and a client that has joined "t".
type watched struct {
	*sluicetest.Node
	log    *lockedBuffer
	client *sluicetest.Client
}

func watch(t *testing.T, change func(*sluice.Config)) *watched {
	t.Helper()
	log := new(lockedBuffer)
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
		change(c)
	}))
	w := &watched{n, log, n.Connect("/socket", "")}
	w.client.Send(`["1","1","t","phx_join",{}]`)
	w.client.Expect(`["1","1","t","phx_reply",{"status":"ok","response":{}}]`)
	return w
}

// suffer has the store be out until end: the node is not ready meanwhile, and says why and what to
// do, by all of these words, to who asks and in its log. It stays with its load balancer. Afterwards it
// is ready again, and delivers.
func (w *watched) suffer(t *testing.T, words string, end func()) {
	t.Helper()
	says := func(text string) bool {
		for word := range strings.SplitSeq(words, "|") {
			if !strings.Contains(text, word) {
				return false
			}
		}
		return true
	}
	w.Eventually("telling the log: "+words, func() bool { return strings.Contains(w.log.String(), `"not ready"`) && says(w.log.String()) })
	w.Eventually("not ready, in words: "+words, func() bool {
		status, body := w.Ask("GET", "/readyz")
		return status == 503 && says(body)
	})
	end()
	w.Eventually("told that it is ready again", func() bool { return strings.Contains(w.log.String(), `"ready again"`) })
	w.Eventually("ready again", func() bool {
		status, _ := w.Ask("GET", "/readyz")
		return status == 200
	})
	w.Eventually("publishing", func() bool { // not necessarily at once: a pooled connection that the outage broke may be noticed now
		status, _ := w.Request("POST", w.Admin, "/api/events", nil, `{"topic":"t","event":"after"}`)
		return status == 202
	})
	w.client.Expect(`[null,null,"t","after",{}]`)
}

// TestReadinessSeesOutagesOfPostgres takes from a node that serves with just the rights that
// it needs what it takes to serve.
func TestReadinessSeesOutagesOfPostgres(t *testing.T) {
	t.Parallel()
	const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s_server'`
	for _, test := range []struct{ name, begin, end, words string }{
		{"a right is missing", `REVOKE INSERT ON %s.sluice_log FROM %s_server`, `GRANT INSERT ON %s.sluice_log TO %s_server`, "lacks rights|GRANT INSERT"},
		{"the log is locked", `BEGIN; LOCK TABLE %s.sluice_log`, `COMMIT`, "AccessExclusiveLock on sluice_log|pg_terminate_backend"},
		{"nobody leads", `SELECT pg_advisory_lock(1936487683, '%s.sluice_outbox'::regclass::oid::integer)`, `SELECT pg_advisory_unlock_all()`, "pg_terminate_backend|forgotten"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			admin := pgtest.Schema(t)
			schema := schemaOf(t, admin)
			on := func(url string) (execute func(sql string)) {
				conn, err := pgx.Connect(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close(context.Background()) })
				return func(sql string) {
					for statement := range strings.SplitSeq(strings.ReplaceAll(sql, "%s", schema), "; ") { // each its own transaction
						if _, err := conn.Exec(t.Context(), statement); err != nil {
							t.Errorf("%s: %v", statement, err)
						}
					}
				}
			}
			owner, holder := on(admin), on(admin+"&application_name=forgotten")
			owner(`CREATE ROLE %s_server LOGIN`)
			if err := errors.Join(postgres.Migrate(t.Context(), admin, slog.New(slog.DiscardHandler)), postgres.Grant(t.Context(), admin, schema+"_server", slog.New(slog.DiscardHandler))); err != nil {
				t.Fatal(err)
			}
			server, err := url.Parse(admin)
			if err != nil {
				t.Fatal(err)
			}
			server.User = url.User(schema + "_server")
			n := watch(t, func(c *sluice.Config) { c.DatabaseURL, c.Migrate = server.String(), new(false) })
			if strings.Contains(test.begin, "pg_advisory_lock") { // which waits until the leader's session has ended
				given := make(chan struct{})
				go func() { defer close(given); holder(test.begin) }()
				n.Eventually("holding the lead", func() bool {
					select {
					case <-given:
						return true
					default:
						owner(cut)
						return false
					}
				})
			} else {
				holder(test.begin)
			}
			owner(`INSERT INTO %s.sluice_outbox (topic, event) VALUES ('t', 'meanwhile')`)
			n.suffer(t, test.words, func() { holder(test.end); n.client.Expect(`[null,null,"t","meanwhile",{}]`) })
		})
	}
}

// row reads one value.
func row(t *testing.T, url, sql string, value any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(value); err != nil {
		t.Fatal(err)
	}
}

// schemaOf is the schema that a URL is for.
func schemaOf(t *testing.T, url string) (schema string) {
	t.Helper()
	row(t, url, `SELECT current_schema()::text`, &schema)
	return schema
}

// TestReadinessSeesAFullDisk has the kernel tell PostgreSQL that there is no room: /dev/full is
// where the log's file was.
func TestReadinessSeesAFullDisk(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.Schema(t)
	n := watch(t, func(c *sluice.Config) { c.DatabaseURL = url })
	var file string
	row(t, url, `SELECT current_setting('data_directory') || '/' || pg_relation_filepath(inhrelid) FROM pg_inherits WHERE inhparent = 'sluice_log'::regclass`, &file)
	cut := func() { // whoever has the file open
		var ended int
		row(t, url, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`, &ended)
	}
	if err := errors.Join(os.Rename(file, file+".away"), os.Symlink("/dev/full", file)); err != nil {
		t.Fatal(err)
	}
	cut()
	var id int64
	row(t, url, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'meanwhile') RETURNING id`, &id)
	n.suffer(t, "No space left on device|make room", func() {
		if err := os.Rename(file+".away", file); err != nil {
			t.Error(err)
		}
		cut()
		n.client.Expect(`[null,null,"t","meanwhile",{}]`)
	})
}

// TestReadinessSeesAReadOnlyServer has the server come back as a standby, as after a failover that
// nobody told the node of.
func TestReadinessSeesAReadOnlyServer(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.Schema(t)
	n := watch(t, func(c *sluice.Config) { c.DatabaseURL = url })
	var data string
	row(t, url, `SHOW data_directory`, &data)
	signal := filepath.Join(data, "standby.signal")
	server.Stop(t)
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
	n.suffer(t, "standby mode|name the primary in the database URL", func() {
		server.Stop(t)
		if err := os.Remove(signal); err != nil {
			t.Error(err)
		}
		server.Start(t)
	})
}

// TestReadinessSeesOutagesOfTheFile is the same for the embedded store, with nothing that waits to be
// written.
func TestReadinessSeesOutagesOfTheFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, words string
		begin       func(t *testing.T, dir string) (end func())
	}{
		{"it is gone", "removed or replaced|from a backup", func(t *testing.T, dir string) func() {
			away := func(from, to string) {
				if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
					t.Error(err)
				}
			}
			away("sluice.db", "away")
			return func() { away("away", "sluice.db") }
		}},
		{"it is locked", "another process has held the file's lock|end its transaction", func(t *testing.T, dir string) func() {
			app, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "sluice.db")+"?_txlock=immediate&_pragma=busy_timeout(600000)")
			if err != nil {
				t.Fatal(err)
			}
			tx, err := app.Begin()
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := errors.Join(tx.Rollback(), app.Close()); err != nil {
					t.Error(err)
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			n := watch(t, func(c *sluice.Config) { c.DataDir = dir })
			n.suffer(t, test.words, test.begin(t, dir))
		})
	}
}
