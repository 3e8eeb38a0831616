package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// runUntil runs the log until the query, which counts, counts want.
func runUntil(t *testing.T, log *postgres.Log, conn *pgx.Conn, query string, want int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	for got := -1; got != want; {
		if err := conn.QueryRow(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if err := log.Wait(t.Context(), 1<<62); err != nil { // for the poll
			t.Fatal(err)
		}
	}
}

// shrinkPartitions makes the partitions of an empty log small.
func shrinkPartitions(t *testing.T, conn *pgx.Conn, size int) {
	t.Helper()
	mustExec(t, conn, `DROP TABLE sluice_log_0`)
	mustExec(t, conn, `UPDATE sluice_meta SET part_end = 0, part_size = $1`, size)
	mustExec(t, conn, `SELECT sluice_extend_log()`)
}

const (
	countRows = `SELECT count(*) FROM sluice_log`
	mark      = `INSERT INTO sluice_marks VALUES (now() - interval '2 hours', $1)`
)

// TestPartitionsGoWithTheirEvents trims 50 of 100 events in partitions of 16:
// three are past, and the rest of the fourth, which is full, goes with it.
func TestPartitionsGoWithTheirEvents(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 10 * time.Millisecond, Retention: time.Hour})
	conn := connect(t, url)
	shrinkPartitions(t, conn, 16)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 100)`)
	runUntil(t, log, conn, countRows, 100)
	mustExec(t, conn, mark, 50)
	runUntil(t, log, conn, countRows, 100-3*16+1) // offset 0 is never given, so the first partition has one less
	var first, trimmed int64
	if err := conn.QueryRow(t.Context(), `SELECT min(first), max(trimmed) FROM sluice_partitions, sluice_meta`).Scan(&first, &trimmed); err != nil || first != 48 || trimmed != 50 {
		t.Errorf("partitions from %d, trimmed up to %d, %v; want 48 and 50", first, trimmed, err)
	}

	mustExec(t, conn, mark, 100) // all there is: rows of the open partition go one by one
	runUntil(t, log, conn, countRows, 0)
	if err := conn.QueryRow(t.Context(), `SELECT min(first) FROM sluice_partitions`).Scan(&first); err != nil || first != 96 {
		t.Errorf("partitions from %d, %v; want 96", first, err)
	}
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustRun(t, log)
	if e := next(t, log, 100); e.Offset != 101 {
		t.Errorf("the log goes on at %d, want 101", e.Offset)
	}
}

// TestTrimmingWaitsForNobody has a transaction use the log for long, as a dump
// does: partitions stay, and neither sequencing nor reading is held up.
func TestTrimmingWaitsForNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 10 * time.Millisecond, Retention: time.Hour, Logger: textLogger(&lines)})
	conn := connect(t, url)
	shrinkPartitions(t, conn, 8)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 20)`)
	runUntil(t, log, conn, countRows, 20)
	mustExec(t, conn, mark, 10)

	dump, err := connect(t, url).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dump.Exec(t.Context(), `SELECT * FROM sluice_log`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	for after := range int64(20) {
		if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
			t.Fatal(err)
		}
		if e := next(t, log, 20+after); e.Offset != 21+after {
			t.Fatalf("got offset %d, want %d", e.Offset, 21+after)
		}
	}
	lines.await(t, "in use", 1)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := dump.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	runUntil(t, log, conn, `SELECT count(*) FROM sluice_partitions WHERE first = 0`, 0)
}
