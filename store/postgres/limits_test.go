package postgres_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestRoundsAreBoundedInBytes moves large rows, one of them larger than a round,
// with small ones between them, and adds up what each transaction has moved.
func TestRoundsAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, MaxPayload: 16 << 20})
	conn := connect(t, url)
	mustExec(t, conn, `ALTER TABLE sluice_log ADD COLUMN round text DEFAULT pg_current_xact_id()::text`)
	for _, table := range []string{"sluice_outbox", "sluice_log"} { // not compressed
		mustExec(t, conn, `ALTER TABLE `+table+` ALTER payload SET STORAGE EXTERNAL`)
	}
	const large = 24
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event, payload) SELECT 't', m::text, CASE WHEN m % 2 = 0 THEN '{}' ELSE json_build_object('a', repeat('x', 1048576)) END FROM generate_series(1, $1) m`, large)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event, payload) SELECT 't', (m + $1)::text, json_build_object('a', repeat('x', 12582912)) FROM generate_series(1, 1) m`, large)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', $1)`, fmt.Sprint(large+2))
	mustRun(t, log)
	for after := range int64(large + 2) {
		if e := next(t, log, after); e.Name != fmt.Sprint(after+1) {
			t.Fatalf("offset %d has event %s", e.Offset, e.Name)
		}
	}
	var rounds, tooLarge int
	err := conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE bytes > 8388608 AND rows > 1)
		FROM (SELECT sum(pg_column_size(payload)) AS bytes, count(*) AS rows FROM sluice_log GROUP BY round) r`).Scan(&rounds, &tooLarge)
	if err != nil || rounds < 3 || tooLarge > 0 {
		t.Errorf("%d rounds, %d of them too large, %v", rounds, tooLarge, err)
	}
}

// TestSlowServerIsGivenLess has the server take long for each row, and very long
// for one of them: rounds do not fit into their time, until they are small.
func TestSlowServerIsGivenLess(t *testing.T) {
	t.Parallel()
	for _, pooled := range []bool{false, true} {
		t.Run(fmt.Sprintf("pooled %v", pooled), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			var lines syncBuffer
			log := mustOpen(t, postgres.Config{DatabaseURL: url, Pooled: pooled, Logger: textLogger(&lines)})
			conn := connect(t, url)
			mustExec(t, conn, `CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
				PERFORM pg_sleep(CASE NEW.event WHEN 'slow' THEN 0.5 ELSE 0.005 END); RETURN NEW; END $$`)
			mustExec(t, conn, `CREATE TRIGGER slow BEFORE INSERT ON sluice_log FOR EACH ROW EXECUTE FUNCTION slow()`)
			const rows = 150
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', CASE n WHEN 70 THEN 'slow' ELSE 'e' END FROM generate_series(1, $1) n`, rows)
			log.GiveRounds(100*time.Millisecond, time.Minute)
			mustRun(t, log)
			next(t, log, rows-1)
			if strings.Contains(lines.String(), "database is lost") {
				t.Errorf("it took this for an outage:\n%s", lines.String())
			}
		})
	}
}

// TestCancelDoesNotShowWhatIsNotReplicated has a standby that never answers: rounds
// wait for it, their sessions are given up, and what they have moved stays unseen.
func TestCancelDoesNotShowWhatIsNotReplicated(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.Schema(t)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
	log.GiveRounds(time.Second, 500*time.Millisecond)
	conn := connect(t, url)
	mustExec(t, conn, `SET synchronous_commit = local`)
	standby := func(names string) {
		t.Helper()
		mustExec(t, conn, `ALTER SYSTEM SET synchronous_standby_names = '`+names+`'`)
		mustExec(t, conn, `SELECT pg_reload_conf()`)
	}
	standby("nobody")
	for now := ""; now != "nobody"; {
		if err := connect(t, url).QueryRow(t.Context(), `SHOW synchronous_standby_names`).Scan(&now); err != nil {
			t.Fatal(err)
		}
	}
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustRun(t, log)
	lines.await(t, "database is lost", 1)
	// The driver has cancelled, if it does, before it has closed the connection.
	for sessions := 0; sessions != 1; {
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&sessions); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 { // sessions that find that another leads
		var moved int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM sluice_log`).Scan(&moved); err != nil || moved > 0 {
			t.Fatalf("%d events are shown that are not replicated, %v", moved, err)
		}
	}
	standby("")
	next(t, log, 0)
	head, err := log.Head(t.Context())
	if err != nil || head.Offset != 1 {
		t.Errorf("the log ends at %d, %v", head.Offset, err)
	}
	if events, err := log.Fetch(t.Context(), 0, store.Limit{Events: 10}); err != nil || len(events) != 1 {
		t.Errorf("%d events, %v", len(events), err)
	}
}
