package postgres_test

import (
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestRoundsOfOthersAreSeen is a node that hears of no round, as behind a pooler, and
// sees rows that wait whenever it looks: it sees how far the log goes, too.
func TestRoundsOfOthersAreSeen(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	mustRun(t, mustOpen(t, postgres.Config{DatabaseURL: url}))
	deaf := mustOpen(t, postgres.Config{DatabaseURL: url})
	conn, holder, locker := connect(t, url), connect(t, url), connect(t, url)
	mustExec(t, locker, `BEGIN`)
	mustExec(t, locker, `LOCK TABLE sluice_log IN SHARE MODE`) // until the row is locked
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('held', 'e')`)
	mustExec(t, holder, `BEGIN`)
	mustExec(t, holder, `SELECT FROM sluice_outbox FOR UPDATE`)
	mustExec(t, locker, `COMMIT`)
	for after, start := int64(0), time.Now(); time.Since(start) < 2*time.Second; after++ {
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		next(t, deaf, after)
		if _, err := deaf.Head(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := deaf.Sequencing(t.Context()); err != nil {
			t.Fatalf("after %v, with a round a moment ago: %v", time.Since(start), err)
		}
	}
}

// TestStallOutlivesWhatIsNotSeen locks the log, and once more after it was let go of,
// for a node that does not sequence. That cannot look for a moment, and has seen
// nothing move by that.
func TestStallOutlivesWhatIsNotSeen(t *testing.T) {
	t.Parallel()
	owner, url := serving(t)
	conn, holder := connect(t, owner), connect(t, owner)
	startOtherNode(t, owner, conn) // it leads
	log := mustOpen(t, postgres.Config{DatabaseURL: url, PollInterval: 5 * time.Millisecond})
	mustRun(t, log)
	for after := range int64(2) {
		mustExec(t, holder, `BEGIN; LOCK TABLE sluice_log IN SHARE MODE`)
		mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
		stalled := new(store.StalledError)
		until(t, "it is said to stall", func() bool { return errors.As(log.Sequencing(t.Context()), &stalled) })
		mustExec(t, conn, `REVOKE SELECT ON sluice_outbox FROM `+userOf(t, url))
		if err := log.Sequencing(t.Context()); err == nil {
			t.Error("it cannot look, and says nothing")
		}
		mustExec(t, conn, `GRANT SELECT ON sluice_outbox TO `+userOf(t, url))
		if err := log.Sequencing(t.Context()); !errors.As(err, &stalled) {
			t.Errorf("it can look again, nothing has moved, and it says %v", err)
		}
		mustExec(t, holder, `COMMIT`)
		next(t, log, after)
		until(t, "all is said to be well", func() bool { return log.Sequencing(t.Context()) == nil })
	}
}

// TestSessionsThatDoNothingPause has each session of the sequencer be ended in its
// first round: the next is begun later and later, though each has connected.
func TestSessionsThatDoNothingPause(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	if err := postgres.Migrate(t.Context(), url, quiet); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	mustExec(t, conn, `INSERT INTO sluice_outbox (topic, event) VALUES ('t', 'e')`)
	mustExec(t, conn, `CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN OLD; END $$`)
	mustExec(t, conn, `CREATE TRIGGER die BEFORE DELETE ON sluice_outbox FOR EACH ROW EXECUTE FUNCTION die()`)
	var lines syncBuffer
	log := mustOpen(t, postgres.Config{DatabaseURL: url, Logger: textLogger(&lines)})
	began := time.Now()
	mustRun(t, log)
	// Pauses grow by half, and are halved at most: the first eight take so long. Eight
	// that do not grow would take half of it.
	lines.await(t, "it sequences the log", 9)
	if took := time.Since(began); took < 1200*time.Millisecond {
		t.Errorf("nine sessions have begun within %v", took)
	}
}
