package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestLogNeverRunsOutOfPartitions uses partitions that one batch fills many
// times over.
func TestLogNeverRunsOutOfPartitions(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn := connect(t, url)
	shrinkPartitions(t, conn, 8)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 100)`)
	mustRun(t, log)
	next(t, log, 99)
	events, err := log.Fetch(t.Context(), 0, store.Limit{Events: 100})
	if err != nil || len(events) != 100 {
		t.Fatalf("%d events, %v; want 100", len(events), err)
	}
	replayed, through, err := log.Replay(t.Context(), "t", 3, 95, store.Limit{Events: 100}) // across them
	if err != nil || len(replayed) != 92 || through != 95 {
		t.Errorf("replayed %d events through %d, %v; want 92 through 95", len(replayed), through, err)
	}
	mustExec(t, conn, `SELECT sluice_extend_log()`) // has nothing to do
	var partitions, room int
	err = conn.QueryRow(t.Context(), `SELECT count(*), max(part_end) - 101 FROM pg_inherits, sluice_meta WHERE inhparent = 'sluice_log'::regclass`).Scan(&partitions, &room)
	if err != nil || partitions < 13 || partitions > 14 || room < 4 {
		t.Errorf("%d partitions with room for %d more events, %v", partitions, room, err)
	}
}

// TestRowsMovedByOthersAreNoticed moves a row behind the back of the node that
// sequences, and so believes to know the head: it must not give out the same
// offset, and go on.
func TestRowsMovedByOthersAreNoticed(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
	mustRun(t, log)
	conn := connect(t, url)
	for turn := range int64(10) {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'ours')`)
		if e := next(t, log, 2*turn); e.Name != "ours" {
			t.Fatalf("event %d is %s", e.Offset, e.Name)
		}
		if turn%2 == 0 {
			mustExec(t, conn, `BEGIN;
				SELECT pg_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer);
				INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'theirs');
				SELECT sluice_sequence(1, 0);
				COMMIT`)
		} else { // says nothing: the next round meets it
			mustExec(t, conn, `INSERT INTO sluice_log ("offset", topic, event, payload, inserted_at) VALUES ($1, 't', 'theirs', '{}', now())`, 2*turn+2)
		}
		if e := next(t, log, 2*turn+1); e.Name != "theirs" {
			t.Fatalf("event %d is %s", e.Offset, e.Name)
		}
	}
	if strings.Contains(lines.String(), "level=ERROR") {
		t.Errorf("it took this for an outage:\n%s", lines.String())
	}
}

// TestLogIsRestoredInPlace removes the log's end, as who restores the tables of a
// database does, under the node that sequences: no offset is given out again.
func TestLogIsRestoredInPlace(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustRun(t, log)
	conn := connect(t, url)
	head := int64(0)
	for _, kept := range []int64{5, 0} {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 10)`)
		next(t, log, head+9)
		mustExec(t, conn, `DELETE FROM sluice_log WHERE "offset" > $1`, kept)
		mustExec(t, conn, `SELECT sluice_begin_epoch()`)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'new')`)
		if e := next(t, log, head+10); e.Name != "new" {
			t.Errorf("offset %d is of %s", e.Offset, e.Name)
		}
		head += 11
	}
}

// TestLogIsTrimmedDuringARound has all events trimmed while a round is held up
// between finding out where it is and where the log ends.
func TestLogIsTrimmedDuringARound(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	sequencer, holder, conn := connect(t, url), connect(t, url), connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 10)`)
	mustExec(t, conn, `SELECT sluice_sequence(100, 0)`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustExec(t, holder, `BEGIN`)
	mustExec(t, holder, `LOCK TABLE sluice_epochs IN ACCESS EXCLUSIVE MODE`)
	sequenced := make(chan error, 1)
	var head int64
	go func() {
		sequenced <- sequencer.QueryRow(t.Context(), `SELECT head FROM sluice_sequence(100, 0)`).Scan(&head)
	}()
	awaitBlocked(t, conn, sequencer)
	mustExec(t, conn, `UPDATE sluice_meta SET trimmed = 10`)
	mustExec(t, conn, `DELETE FROM sluice_log`)
	mustExec(t, holder, `COMMIT`)
	if err := <-sequenced; err != nil || head != 11 {
		t.Errorf("the row got offset %d, %v; want 11", head, err)
	}
}

// awaitBlocked returns once a session waits for a lock.
func awaitBlocked(t *testing.T, conn, session *pgx.Conn) {
	t.Helper()
	for blocked := false; !blocked; {
		err := conn.QueryRow(t.Context(), `SELECT cardinality(pg_blocking_pids($1)) > 0`, session.PgConn().PID()).Scan(&blocked)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestPoisonedRowIsSetAside removes the constraint that keeps out a topic too
// long for the log's index: from a few rows, and from a backlog, which is moved
// in rounds that have grown when they meet it.
func TestPoisonedRowIsSetAside(t *testing.T) {
	t.Parallel()
	for rows, poisoned := range map[int][]int{100: {33, 34, 77}, 6000: {1, 2500, 5999}} {
		t.Run(fmt.Sprint(rows), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			var lines syncBuffer
			log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
			conn := connect(t, url)
			mustExec(t, conn, `ALTER TABLE sluice_outbox DROP CONSTRAINT sluice_topic_has_1_to_255_bytes`)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event)
				SELECT CASE WHEN n = ANY ($1) THEN (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 1000)) ELSE n::text END, 'e'
				FROM generate_series(1, $2) n`, poisoned, rows)
			mustRun(t, log)
			kept := rows - len(poisoned)
			next(t, log, int64(kept-1))
			events, err := log.Fetch(t.Context(), 0, store.Limit{Events: rows})
			if err != nil || len(events) != kept {
				t.Fatalf("%d events, %v; want %d", len(events), err, kept)
			}
			number := 0
			for _, e := range events {
				for number++; slices.Contains(poisoned, number); number++ {
				}
				if e.Topic != fmt.Sprint(number) {
					t.Fatalf("got event %s, want %d", e.Topic, number)
				}
			}
			var rejected, reasons int
			if err := conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE reason LIKE '%index%') FROM sluice_rejected`).Scan(&rejected, &reasons); err != nil || rejected != 3 || reasons != 3 {
				t.Errorf("%d rows set aside, %d with the reason, %v; want 3", rejected, reasons, err)
			}
			if got := strings.Count(lines.String(), "sluice_rejected"); got != 3 {
				t.Errorf("%d rows logged, want 3:\n%s", got, lines.String())
			}
		})
	}
}

// TestRefusedDataFailsItsCallerOnly appends what only the database refuses,
// by a constraint that the operator has added, among callers whose commits it
// shares.
func TestRefusedDataFailsItsCallerOnly(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	mustExec(t, connect(t, url), `ALTER TABLE sluice_outbox ADD CONSTRAINT not_here CHECK (topic <> 'refused')`)
	const callers, bad = 32, 7
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			drafts := []store.Draft{{Topic: "t", Name: "e"}, {Topic: "t", Name: "e"}}
			if caller == bad {
				drafts[1].Topic = "refused"
			}
			err := log.Append(t.Context(), drafts)
			var invalid *store.InvalidError
			if caller == bad {
				if !errors.As(err, &invalid) || store.RetrySafe(err) {
					t.Errorf("the bad caller got %v", err)
				}
			} else if err != nil {
				t.Errorf("caller %d got %v", caller, err)
			}
		})
	}
	wait.Wait()
	mustRun(t, log)
	next(t, log, 2*(callers-1)-1)
	if head, err := log.Head(t.Context()); err != nil || head.Offset != 2*(callers-1) {
		t.Errorf("the log ends at %d, %v; want %d", head.Offset, err, 2*(callers-1))
	}
}

// TestOutageIsLoggedOnce takes the server away for several attempts.
func TestOutageIsLoggedOnce(t *testing.T) {
	t.Parallel()
	began := time.Now()
	server := pgtest.NewServer(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: server.Schema(t), Logger: textLogger(&lines)})
	mustRun(t, log)
	for turn := range 2 {
		if err := log.Append(t.Context(), []store.Draft{{Topic: "t", Name: "e"}}); err != nil {
			t.Fatal(err)
		}
		next(t, log, int64(turn))
		server.Stop(t)
		lines.await(t, "database is lost", turn+1)
		server.Start(t)
		lines.await(t, "database is back", turn+1)
	}
	if lines.exceeds("database is lost", 2, began) {
		t.Errorf("two outages were logged more often:\n%s", lines.String())
	}
}

func textLogger(lines io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(lines, nil)) }

// syncBuffer is written by a logger and read by a test.
type syncBuffer struct {
	mu      sync.Mutex
	written *sync.Cond
	text    bytes.Buffer
}

func (b *syncBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil {
		defer b.written.Broadcast()
	}
	return b.text.Write(line)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// patience bounds what tests wait for. It says nothing about speed: only what never
// happens takes so long.
const patience = 15 * time.Minute

// until waits until something is so, and looks with pauses, in which the server runs.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
	}
}

// awaitStall is why a log does not move; with a cause, once it knows the error behind it.
func awaitStall(t *testing.T, log interface{ Sequencing(context.Context) error }, cause bool) *store.StalledError {
	t.Helper()
	stalled := new(store.StalledError)
	until(t, "the log says that it stalls", func() bool {
		return errors.As(log.Sequencing(t.Context()), &stalled) && (stalled.Err != nil || !cause)
	})
	return stalled
}

// await returns once words have been written count times.
func (b *syncBuffer) await(t *testing.T, words string, count int) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written == nil {
		b.written = sync.NewCond(&b.mu)
	}
	late := false
	defer time.AfterFunc(patience, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		late = true
		b.written.Broadcast()
	}).Stop()
	for strings.Count(b.text.String(), words) < count {
		if late {
			t.Fatalf("waited %v in vain for %q, %d times, in:\n%s", patience, words, count, b.text.String())
		}
		b.written.Wait()
	}
}

// exceeds tells whether words have been written more often than count times, and once more
// for each minute since a moment: what lasts is told again each minute.
func (b *syncBuffer) exceeds(words string, count int, since time.Time) bool {
	written := b.count(words) // before it is looked how much time has passed
	return written > count+int(time.Since(since)/time.Minute)
}

// count is how often words have been written.
func (b *syncBuffer) count(words string) int { return strings.Count(b.String(), words) }
