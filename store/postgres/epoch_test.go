package postgres_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// insertAll inserts one event for each of the topics and returns once the log
// has them. It runs the log for as long as that takes.
func insertAll(t *testing.T, log *postgres.Log, url string, topics ...string) {
	t.Helper()
	conn := connect(t, url)
	for _, topic := range topics {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ($1, 'e')`, topic)
	}
	runUntil(t, log, conn, `SELECT count(*) FROM sluice_outbox`, 0)
}

// topics lists those of all events in the log.
func topics(t *testing.T, log *postgres.Log) string {
	t.Helper()
	events, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range events {
		list = append(list, e.Topic)
	}
	return strings.Join(list, " ")
}

// wantResume checks which positions of the epoch count in the log.
func wantResume(t *testing.T, log *postgres.Log, epoch string, whole, broken int64) {
	t.Helper()
	h, err := log.Extent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if after, ok := h.Resume(store.Cursor{Epoch: epoch, Offset: whole}); !ok || after != whole {
		t.Errorf("position %d of the old epoch resumes after %d, whole %v; want whole. The log is %+v", whole, after, ok, h)
	}
	if after, ok := h.Resume(store.Cursor{Epoch: epoch, Offset: broken}); ok || after != whole {
		t.Errorf("position %d of the old epoch resumes after %d, whole %v; want %d, broken. The log is %+v", broken, after, ok, whole, h)
	}
}

func epochOf(t *testing.T, log *postgres.Log) string {
	t.Helper()
	head, err := log.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head.Epoch
}

func must(t *testing.T, program string, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, output)
	}
}

// TestPositionsSurviveDumpAndRestore moves a log, with two events that are not
// sequenced yet, to another database. The one that it came from goes on.
func TestPositionsSurviveDumpAndRestore(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	epoch := epochOf(t, log)
	insertAll(t, log, url, "a", "b", "c")
	conn := connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('d', 'e'), ('e', 'e')`)
	var schema string
	if err := conn.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dump")
	must(t, "pg_dump", "--dbname="+url, "--schema="+schema, "--format=custom", "--file="+file)
	insertAll(t, log, url, "f", "g")

	mustExec(t, conn, `CREATE DATABASE `+schema)
	restored := strings.Replace(url, "/postgres?", "/"+schema+"?", 1)
	must(t, "pg_restore", "--dbname="+restored, "--exit-on-error", file)
	copied := mustOpen(t, postgres.Config{DatabaseURL: restored})
	if got := topics(t, copied); got != "a b c" {
		t.Errorf("the restored log has %s, want a b c", got)
	}
	insertAll(t, copied, restored, "h")
	if got := topics(t, copied); got != "a b c d e h" {
		t.Errorf("the restored log has %s, want a b c d e h", got)
	}
	wantResume(t, copied, epoch, 3, 4)
	if epochOf(t, copied) == epoch {
		t.Error("the restored log goes on in the old epoch")
	}
	if got := epochOf(t, log); got != epoch {
		t.Errorf("the log that was dumped has gone from epoch %s to %s", epoch, got)
	}
}

// TestPromotionBeginsAnEpoch puts a server's files back to what a standby that
// lags behind has of them, and promotes it.
func TestPromotionBeginsAnEpoch(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	epoch := epochOf(t, log)
	insertAll(t, log, url, "a", "b", "c")
	var data string
	if err := connect(t, url).QueryRow(t.Context(), `SHOW data_directory`).Scan(&data); err != nil {
		t.Fatal(err)
	}
	standby := data + ".standby"
	server.Stop(t)
	must(t, "cp", "-a", data, standby)
	server.Start(t)
	log = mustOpen(t, postgres.Config{DatabaseURL: url})
	insertAll(t, log, url, "lost", "lost")
	if got := epochOf(t, log); got != epoch {
		t.Fatalf("a restart has begun epoch %s", got)
	}
	server.Stop(t)
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	must(t, "mv", standby, data)
	if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Start(t)
	promote(t, server.URL())

	log = mustOpen(t, postgres.Config{DatabaseURL: url})
	insertAll(t, log, url, "d")
	if got := topics(t, log); got != "a b c d" {
		t.Errorf("the log has %s, want a b c d", got)
	}
	wantResume(t, log, epoch, 3, 4)
	if epochOf(t, log) == epoch {
		t.Error("the promoted server goes on in the old epoch")
	}
}

func promote(t *testing.T, url string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var promoted bool
	if err := conn.QueryRow(t.Context(), `SELECT pg_promote(true, $1)`, int(patience/time.Second)).Scan(&promoted); err != nil || !promoted {
		t.Fatalf("promoted: %v, %v", promoted, err)
	}
}

// TestIdentityIsReadByAnybody: a log whose user may read less would not notice
// that it was moved.
func TestIdentityIsReadByAnybody(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	var schema string
	if err := conn.QueryRow(t.Context(), `SELECT current_schema()`).Scan(&schema); err != nil {
		t.Fatal(err)
	}
	mustExec(t, conn, `CREATE ROLE `+schema+`_reader`)
	mustExec(t, conn, `GRANT USAGE ON SCHEMA `+schema+` TO `+schema+`_reader`)
	mustExec(t, conn, `SET ROLE `+schema+`_reader`)
	var identity string
	if err := conn.QueryRow(t.Context(), `SELECT sluice_identity()`).Scan(&identity); err != nil || strings.Contains(identity, "?") {
		t.Errorf("the identity is %q, %v", identity, err)
	}
}
