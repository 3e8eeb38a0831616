package postgres_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestLockedRowHoldsUpItsTopicAlone locks a row in all ways that there are, with
// more rows of its topic behind it than a round takes.
func TestLockedRowHoldsUpItsTopicAlone(t *testing.T) {
	t.Parallel()
	const behind = 2500
	for _, lock := range []string{
		`SELECT * FROM sluice_outbox WHERE event = '2' AND topic = 'held' FOR UPDATE`,
		`SELECT * FROM sluice_outbox WHERE event = '2' AND topic = 'held' FOR KEY SHARE`,
		`UPDATE sluice_outbox SET payload = '{"changed": true}' WHERE event = '2' AND topic = 'held'`,
		`DELETE FROM sluice_outbox WHERE event = '2' AND topic = 'held'`,
	} {
		for _, end := range []string{`COMMIT`, `ROLLBACK`} {
			t.Run(lock[:6]+lock[max(6, len(lock)-10):]+" "+end, func(t *testing.T) {
				t.Parallel()
				url := pgtest.Schema(t)
				log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
				conn, holder := connect(t, url), connect(t, url)
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', '1'), ('free', '1'), ('held', '2'), ('free', '2')`)
				mustExec(t, holder, `BEGIN`)
				mustExec(t, holder, lock)
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 'held', (2 + n)::text FROM generate_series(1, $1) n`, behind)
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('free', '3')`)
				mustRun(t, log)
				after := int64(0)
				want := func(topic, event string) {
					t.Helper()
					e := next(t, log, after)
					if after++; e.Topic != topic || e.Name != event {
						t.Fatalf("offset %d has event %s of %s, want %s of %s", e.Offset, e.Name, e.Topic, event, topic)
					}
				}
				want("held", "1")
				want("free", "1")
				want("free", "2")
				want("free", "3")
				for n := 4; n < 10; n++ { // rounds that begin meanwhile
					mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', $1), ('free', $2)`, fmt.Sprint(behind+n-1), fmt.Sprint(n))
					want("free", fmt.Sprint(n))
				}
				mustExec(t, holder, end)
				first := 2
				if strings.HasPrefix(lock, "DELETE") && end == `COMMIT` {
					first = 3
				}
				for n := first; n <= behind+8; {
					events, err := log.Fetch(t.Context(), after, store.Limit{Events: 500})
					if err != nil {
						t.Fatal(err)
					}
					for _, e := range events {
						if after++; e.Offset != after || e.Topic != "held" || e.Name != fmt.Sprint(n) {
							t.Fatalf("offset %d has event %s of %s, want %d of held at %d", e.Offset, e.Name, e.Topic, n, after)
						}
						n++
					}
					if len(events) == 0 {
						if err := log.Wait(t.Context(), after); err != nil {
							t.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// TestRowIsChangedWhileItIsMoved changes one after a round has seen it, and before
// the round moves it: a trigger holds it up in between.
func TestRowIsChangedWhileItIsMoved(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, change string
		left         int // in the outbox after the round is done again
	}{
		{"changed", `UPDATE sluice_outbox SET payload = '{"changed": true}' WHERE event = '2'`, 0},
		{"to another topic", `UPDATE sluice_outbox SET topic = 'b' WHERE event = '2'`, 0},
		{"removed", `DELETE FROM sluice_outbox WHERE event = '2'`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
				t.Fatal(err)
			}
			conn, sequencer, holder := connect(t, url), connect(t, url), connect(t, url)
			mustExec(t, conn, `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				PERFORM pg_advisory_xact_lock_shared(7, 'sluice_outbox'::regclass::oid::integer); RETURN OLD; END $$`)
			mustExec(t, conn, `CREATE TRIGGER wait BEFORE DELETE ON sluice_outbox FOR EACH ROW WHEN (OLD.event = '1') EXECUTE FUNCTION wait()`)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('a', '1'), ('a', '2'), ('a', '3')`)
			mustExec(t, holder, `SELECT pg_advisory_lock(7, 'sluice_outbox'::regclass::oid::integer)`)
			mustExec(t, sequencer, `SET lock_timeout = '5min'`)
			sequenced := make(chan error, 1)
			go func() {
				_, err := sequencer.Exec(t.Context(), `SELECT sluice_sequence(100, 0)`)
				sequenced <- err
			}()
			awaitBlocked(t, conn, sequencer)
			mustExec(t, conn, test.change)
			mustExec(t, holder, `SELECT pg_advisory_unlock(7, 'sluice_outbox'::regclass::oid::integer)`)
			refusal := new(pgconn.PgError)
			if err := <-sequenced; !errors.As(err, &refusal) || refusal.Code != "40001" {
				t.Fatalf("the round ended with %v", err)
			}
			for range 2 { // what was removed counts as passed by, once
				mustExec(t, sequencer, `SELECT sluice_sequence(100, 0, careful => true)`)
			}
			var left int
			var order string
			if err := conn.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM sluice_outbox), (SELECT string_agg(event, '' ORDER BY "offset") FROM sluice_log)`).Scan(&left, &order); err != nil {
				t.Fatal(err)
			}
			if want := map[bool]string{true: "13", false: "123"}[test.name == "removed"]; left != 0 || order != want {
				t.Errorf("the log has events %s, want %s; %d rows are left", order, want, left)
			}
		})
	}
}

// TestOrderSurvivesWhatIsDoneToRows changes and locks rows of a few topics at
// random while others write them, each in ascending order.
func TestOrderSurvivesWhatIsDoneToRows(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 150
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 2 * time.Millisecond})
	mustRun(t, log)
	var writing, meddling sync.WaitGroup
	var written atomic.Bool
	for w := range writers {
		app := connect(t, url)
		writing.Go(func() {
			for n := range each {
				if _, err := app.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event) VALUES ($1, $2)`, fmt.Sprint(w), fmt.Sprint(n)); err != nil {
					t.Error(err)
				}
			}
		})
		meddler := connect(t, url)
		meddling.Go(func() {
			for random := rand.New(rand.NewPCG(1, uint64(w))); !written.Load(); {
				what := []string{
					`SELECT FROM sluice_outbox WHERE id = (SELECT min(id) FROM sluice_outbox WHERE topic = $1) FOR UPDATE`,
					`UPDATE sluice_outbox SET payload = '{"n":1}' WHERE id = (SELECT min(id) FROM sluice_outbox WHERE topic = $1)`,
				}[random.IntN(2)]
				for _, sql := range []string{`BEGIN`, what, []string{`COMMIT`, `ROLLBACK`}[random.IntN(2)]} {
					var args []any
					if sql == what {
						args = []any{fmt.Sprint(random.IntN(writers))}
					}
					if _, err := meddler.Exec(t.Context(), sql, args...); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	seen := make([]int, writers)
	for after := range int64(writers * each) {
		e := next(t, log, after)
		var w int
		fmt.Sscan(e.Topic, &w)
		if e.Name != fmt.Sprint(seen[w]) {
			t.Errorf("offset %d has event %s of writer %d, want %d", e.Offset, e.Name, w, seen[w])
			break
		}
		seen[w]++
	}
	writing.Wait()
	written.Store(true)
	meddling.Wait()
}

// TestLockedRowIsNoStall asks a node that does not sequence: of a table that is locked
// it hears no round, of a row it does.
func TestLockedRowIsNoStall(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	leads := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
	conn, holder := connect(t, url), connect(t, url)
	startOtherNode(t, url, conn) // it leads
	mustRun(t, leads)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	next(t, leads, 0)
	mustExec(t, holder, `BEGIN; LOCK TABLE sluice_log IN SHARE MODE`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', 'e')`)
	awaitStall(t, leads, false)
	mustExec(t, conn, `BEGIN`)
	mustExec(t, conn, `SELECT FROM sluice_outbox FOR UPDATE`)
	mustExec(t, holder, `COMMIT`)
	until(t, "events are sequenced again", func() bool { return leads.Sequencing(t.Context()) == nil })
	mustExec(t, conn, `COMMIT`)
	next(t, leads, 1)
}

// TestHeldWakeUpsAreMadeUpFor has a transaction that stays open fire the trigger.
func TestHeldWakeUpsAreMadeUpFor(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
	mustRun(t, log)
	conn, holder := connect(t, url), connect(t, url)
	mustExec(t, holder, `BEGIN`)
	mustExec(t, holder, `SET CONSTRAINTS ALL IMMEDIATE`)
	mustExec(t, holder, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'late')`)
	lines.await(t, "keeps commits from waking", 1)
	for after := range int64(20) {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, log, after)
	}
	mustExec(t, holder, `COMMIT`)
	next(t, log, 20)
}

// TestManyTopicsAreHeldUp locks rows of ever more topics, with rows of theirs and of
// others behind them.
func TestManyTopicsAreHeldUp(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	for _, topics := range []int{0, 1, 31, 32, 33, 3000} {
		holder := connect(t, url)
		mustExec(t, conn, `TRUNCATE sluice_outbox RESTART IDENTITY`)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT n::text, 'locked' FROM generate_series(1, $1) n`, topics)
		mustExec(t, holder, `BEGIN`)
		mustExec(t, holder, `SELECT FROM sluice_outbox FOR UPDATE`)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT n::text, CASE WHEN n <= $1 THEN 'behind' ELSE 'free' END FROM generate_series(1, $1 + 50) n`, topics)
		var same, ended bool
		var waits *int64
		err := conn.QueryRow(t.Context(), `SELECT ids = ARRAY(SELECT id FROM sluice_outbox WHERE event = 'free' ORDER BY id), waits, ended
			FROM sluice_pick(100000, 0, 1000000000, 1000000)`).Scan(&same, &waits, &ended)
		if err != nil || !same || !ended || (waits != nil) != (topics > 0) || waits != nil && *waits != 1 {
			t.Errorf("%d topics are held up: picks all others %v and ends %v, and waits for %v, %v", topics, same, ended, waits, err)
		}
		mustExec(t, holder, `ROLLBACK`)
	}
}
