package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestStallIsSeen takes from the sequencer what it needs, and gives it back: the
// log says that events wait, with the reason and what to do, and goes on.
func TestStallIsSeen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, take, give string
		words            []string
	}{
		{"a locked log", `BEGIN; LOCK TABLE sluice_log IN SHARE MODE`, `COMMIT`, []string{"ShareLock on sluice_log", "pg_terminate_backend"}},
		{"a right of the log", `REVOKE INSERT ON sluice_log FROM %s`, `GRANT INSERT ON sluice_log TO %s`, []string{"permission denied", "sluice_log", "grant", "GRANT INSERT ON %s.sluice_log TO"}},
		{"a right of the outbox", `REVOKE DELETE ON sluice_outbox FROM %s`, `GRANT DELETE ON sluice_outbox TO %s`, []string{"permission denied", "sluice_outbox"}},
		{"a right of the sequence", `REVOKE ALL ON sluice_outbox_id_seq FROM %s`, `GRANT ALL ON sluice_outbox_id_seq TO %s`, []string{"permission denied", "sluice_outbox_id_seq"}},
		{"row-level security", `ALTER TABLE sluice_outbox ENABLE ROW LEVEL SECURITY`, `ALTER TABLE sluice_outbox DISABLE ROW LEVEL SECURITY`, []string{"row-level security", "BYPASSRLS"}},
		{"a partition", `ALTER TABLE sluice_log DETACH PARTITION sluice_log_0`, `ALTER TABLE sluice_log ATTACH PARTITION sluice_log_0 FOR VALUES FROM (0) TO (5000000)`, []string{"no partition"}},
		{"a function", `ALTER FUNCTION sluice_pick RENAME TO gone; UPDATE sluice_outbox SET event = event; ALTER FUNCTION sluice_writers RENAME TO gone2`, `ALTER FUNCTION gone RENAME TO sluice_pick; ALTER FUNCTION gone2 RENAME TO sluice_writers`, []string{"sluice_writers", "sluice migrate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			owner, url := serving(t)
			conn, role := connect(t, owner), userOf(t, url)
			var lines syncBuffer
			log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond, Logger: textLogger(&lines)})
			mustRun(t, log)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
			next(t, log, 0)
			app := connect(t, owner)
			for _, sql := range strings.Split(test.take, ";") {
				mustExec(t, conn, strings.ReplaceAll(sql, "%s", role))
			}
			mustExec(t, app, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
			var words []string
			for _, word := range test.words {
				words = append(words, inSchema(word, schemaOf(t, owner)))
			}
			lines.await(t, "events are not sequenced", 1)
			awaitReason(t, func() error {
				stalled := new(store.StalledError)
				if err := log.Sequencing(t.Context()); !errors.As(err, &stalled) {
					return nil
				}
				return stalled
			}, words...)
			for _, sql := range strings.Split(test.give, ";") {
				mustExec(t, conn, strings.ReplaceAll(sql, "%s", role))
			}
			next(t, log, 1)
			lines.await(t, "events are sequenced again", 1)
			until(t, "events are sequenced again", func() bool { return log.Sequencing(t.Context()) == nil })
			if strings.Contains(lines.String(), "database is lost") {
				t.Errorf("it took this for an outage:\n%s", lines.String())
			}
		})
	}
}

// TestNobodyRunsTheLog: then events wait, and the log says so.
func TestNobodyRunsTheLog(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url})
	if err := log.Sequencing(t.Context()); err != nil {
		t.Errorf("with nothing to do: %v", err)
	}
	mustExec(t, connect(t, url), `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	awaitStall(t, log, false)
	mustRun(t, log)
	next(t, log, 0)
	until(t, "events are sequenced again", func() bool { return log.Sequencing(t.Context()) == nil })
}

// TestCachedIDsAreHealed gives the sequence a cache, before the log is opened and
// while it runs, with sessions that have taken from it: no event waits for a sweep.
func TestCachedIDsAreHealed(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn, one, two := connect(t, url), connect(t, url), connect(t, url)
	const write = `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`
	mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 50`)
	mustExec(t, one, write)
	mustExec(t, two, write)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond, Logger: textLogger(&lines)})
	mustRun(t, log)
	after := int64(1)
	next(t, log, after)
	for turn := range 3 {
		if turn == 1 {
			mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 50`)
			lines.await(t, "had a cache", 2)
		}
		for range 5 {
			for _, app := range []*pgx.Conn{two, one} {
				mustExec(t, app, write)
				after++
				next(t, log, after)
			}
		}
	}
	if strings.Contains(lines.String(), "events are not sequenced") {
		t.Errorf("it stalled:\n%s", lines.String())
	}
}

// TestCachedIDsAreHealedByWhoServes opens the log as somebody who does not own it.
func TestCachedIDsAreHealedByWhoServes(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{`CACHE 50`, `INCREMENT BY -1 NO MINVALUE`} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			owner, url := serving(t)
			conn := connect(t, owner)
			mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq `+fault)
			var lines syncBuffer
			mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
			var ordered bool
			if err := conn.QueryRow(t.Context(), `SELECT ordered FROM sluice_writers()`).Scan(&ordered); err != nil || !ordered || !strings.Contains(lines.String(), "had a cache") {
				t.Errorf("ids are in order: %v, %v\n%s", ordered, err, lines.String())
			}
		})
	}
}

// TestIDsStartAgain restarts the sequence, sets it back, and gives rows ids by hand,
// each so that as many are drawn as before when the sequencer looks.
func TestIDsStartAgain(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, again string }{
		{"restarted", `TRUNCATE sluice_outbox RESTART IDENTITY`},
		{"set to the beginning", `ALTER SEQUENCE sluice_outbox_id_seq RESTART`},
		{"set back", `SELECT setval('sluice_outbox_id_seq', 1)`},
		{"below zero", `ALTER SEQUENCE sluice_outbox_id_seq MINVALUE -1000 RESTART WITH -1000`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
			mustRun(t, log)
			conn := connect(t, url)
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 100)`)
			next(t, log, 99)
			for after := range int64(20) { // the watermark has risen meanwhile
				mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
				next(t, log, 100+after)
			}
			mustExec(t, conn, `BEGIN`)
			mustExec(t, conn, test.again)
			more := 5
			if test.name != "set back" {
				more = 300
			}
			mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, $1)`, more)
			mustExec(t, conn, `COMMIT`)
			next(t, log, int64(119+more))
		})
	}
}

// TestPoolerLeadsToAnotherServer is a failover behind a pooler, as a session sees
// it: another node has begun the epoch, and ids start lower, but not for long.
func TestPoolerLeadsToAnotherServer(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Pooled: true, PollInterval: 5 * time.Millisecond})
	mustRun(t, log)
	conn := connect(t, url)
	for after := range int64(20) {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, log, after)
	}
	mustExec(t, conn, `BEGIN`)
	mustExec(t, conn, `SELECT sluice_begin_epoch(), setval('sluice_outbox_id_seq', 1)`)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) SELECT 't', 'e' FROM generate_series(1, 100)`)
	mustExec(t, conn, `COMMIT`)
	next(t, log, 119)
}

// TestCachedIDsStopNothing has the sequence get a cache while somebody runs the log
// who may not heal it: events come, and it is told, but not each time.
func TestCachedIDsStopNothing(t *testing.T) {
	t.Parallel()
	began := time.Now()
	owner, url := serving(t)
	conn := connect(t, owner)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond, Logger: textLogger(&lines)})
	mustRun(t, log)
	mustExec(t, conn, `REVOKE EXECUTE ON FUNCTION sluice_order_ids() FROM `+userOf(t, url))
	mustExec(t, conn, `ALTER SEQUENCE sluice_outbox_id_seq CACHE 50`)
	lines.await(t, "out of order", 1)
	for after := range int64(50) {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, log, after)
	}
	if lines.exceeds("out of order", 1, began) || lines.count("not sequenced") > 0 {
		t.Errorf("it tells of it each time, or stalled:\n%s", lines.String())
	}
}
