package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// connect opens a connection that is closed with the test.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func mustExec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// mustOpen opens a migrated log that is closed with the test.
func mustOpen(t *testing.T, config postgres.Config) *postgres.Log {
	t.Helper()
	config.Migrate = true
	if config.Logger == nil {
		config.Logger = quiet
	}
	log, err := postgres.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

// mustRun runs the log until the test ends.
func mustRun(t *testing.T, log *postgres.Log) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// closedPort is an address that nobody listens at.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	server := connect(t, url).Config()
	addr := net.JoinHostPort(server.Host, fmt.Sprint(server.Port))
	closed := closedPort(t)
	for _, test := range []struct {
		name, url string
		passes    bool // it is worth trying again
		words     []string
	}{
		{"no URL", "", false, []string{"DatabaseURL", "postgres://"}},
		{"no URL at all", "postgres//x:s3cret@y", false, []string{"database URL"}},
		{"bad port", "postgres://app:s3cret@127.0.0.1:99999/app", false, []string{"database URL"}},
		{"bad escape", "postgres://app:s3cret%zz@127.0.0.1/app", false, []string{"percent-encoded"}},
		{"bad parameter", "postgres://app:s3cret@127.0.0.1/app?sslmode=some", false, []string{"database URL"}},
		{"nobody listens", "postgres://app:s3cret@" + closed + "/app", true, []string{closed, "start PostgreSQL"}},
		{"nobody listens at two", "postgres://app:s3cret@" + closed + ",127.0.0.1:1/app", true, []string{closed, "127.0.0.1:1"}},
		{"no such folder", "postgres:///app?host=/nowhere&port=5499", true, []string{"/nowhere/.s.PGSQL.5499", "start PostgreSQL"}},
		{"no such host", "postgres://app:s3cret@nowhere.invalid/app", true, []string{"nowhere.invalid:", "host name"}},
		{"no such database", "postgres://postgres:s3cret@" + addr + "/absent", true, []string{addr, "createdb absent"}},
		{"no such user", "postgres://stranger:s3cret@" + addr + "/postgres", true, []string{addr, `"stranger"`}},
		{"no such schema", "postgres://postgres:s3cret@" + addr + "/postgres?search_path=absent", false, []string{addr, "search_path absent", "CREATE SCHEMA"}},
		{"no tables", url, false, []string{addr, "sluice migrate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), postgres.Config{DatabaseURL: test.url, Logger: quiet})
			if err == nil {
				t.Fatal("opened")
			}
			var unavailable *store.UnavailableError
			if errors.As(err, &unavailable) != test.passes || store.RetrySafe(err) != test.passes {
				t.Errorf("an outage: %v, want %v: %v", !test.passes, test.passes, err)
			}
			for _, words := range test.words {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("does not mention %s: %v", words, err)
				}
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("tells the password: %v", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("is not one line: %v", err)
			}
		})
	}
}

func TestMigrationsAreForThisProgram(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	ctx := t.Context()
	for range 2 { // the second has nothing to do
		if err := postgres.Migrate(ctx, url, quiet); err != nil {
			t.Fatal(err)
		}
	}
	log, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Logger: quiet})
	if err != nil {
		t.Fatalf("open without migrating: %v", err)
	}
	log.Close()

	conn := connect(t, url)
	var version int
	if err := conn.QueryRow(ctx, `SELECT version FROM sluice_meta`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `UPDATE sluice_meta SET version = version + 1`)
	for _, migrate := range []bool{false, true} {
		_, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Migrate: migrate, Logger: quiet})
		if err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("tables of a newer program, migrate %v: %v", migrate, err)
		}
	}
	mustExec(t, conn, `UPDATE sluice_meta SET version = $1`, version-1)
	if _, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Logger: quiet}); err == nil || !strings.Contains(err.Error(), "sluice migrate") {
		t.Errorf("tables of an older program, not migrating: %v", err)
	}
}

// TestOlderTablesAreUpgraded has those of each version that was ever in use, with
// rows that wait, and the trigger as somebody has left it.
func TestOlderTablesAreUpgraded(t *testing.T) {
	t.Parallel()
	for _, version := range []int{4, 5} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			testUpgrade(t, version)
		})
	}
}

func testUpgrade(t *testing.T, version int) {
	url := pgtest.Schema(t)
	if err := postgres.MigrateTo(t.Context(), url, version); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	mustExec(t, conn, `ALTER TABLE sluice_outbox DISABLE TRIGGER sluice_outbox_inserted`)

	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	next(t, log, 0)
	var enabled string
	if err := conn.QueryRow(t.Context(), `SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'sluice_outbox_inserted' AND tgrelid = 'sluice_outbox'::regclass`).Scan(&enabled); err != nil || enabled != "D" {
		t.Errorf("the trigger that was disabled is %q, %v", enabled, err)
	}
}

// TestMigrationHoldsUpNobody migrates while somebody has written, and not
// committed: others go on writing, and the migration comes to its end after that.
func TestMigrationHoldsUpNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.MigrateTo(t.Context(), url, 4); err != nil {
		t.Fatal(err)
	}
	open, conn := connect(t, url), connect(t, url)
	mustExec(t, open, `BEGIN`)
	mustExec(t, open, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	var lines syncBuffer
	migrated := make(chan error, 1)
	go func() { migrated <- postgres.Migrate(t.Context(), url, textLogger(&lines)) }()
	lines.await(t, "still open", 1)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustExec(t, open, `COMMIT`)
	if err := <-migrated; err != nil {
		t.Error(err)
	}
}

func TestPoolerIsNoticed(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	var lines bytes.Buffer
	config := postgres.Config{DatabaseURL: url, Logger: slog.New(slog.NewTextHandler(&lines, nil))}
	mustOpen(t, config)
	if strings.Contains(lines.String(), "pooler") {
		t.Errorf("a direct connection is taken for a pooler's: %s", &lines)
	}
	lines.Reset()
	config.DatabaseURL = throughPooler(t, url)
	mustOpen(t, config)
	if !strings.Contains(lines.String(), "pooler") {
		t.Errorf("a pooler was not noticed: %s", &lines)
	}
}

// throughPooler returns the URL of a proxy that, as poolers do, gives each
// connection a process id of its own.
func throughPooler(t *testing.T, url string) string {
	t.Helper()
	config := connect(t, url).Config()
	server := net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	return strings.Replace(url, server, pooler(t, server), 1)
}
