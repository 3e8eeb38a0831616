package sqlite_test

import (
	"database/sql"
	"fmt"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/sqlite"
)

// topicOf spreads events over many topics that have few of them each, one that
// has half of all, and one that has an event now and then.
func topicOf(offset int) string {
	switch {
	case offset%2 == 0:
		return "many"
	case offset%313 == 0:
		return "some"
	}
	return fmt.Sprint("few:", offset*7919%41)
}

// appendTopics appends events with the offsets from first to last, by turns
// through logs of the same file.
func appendTopics(t *testing.T, first, last int, logs ...*sqlite.Log) {
	t.Helper()
	const size = 30
	turn := 0
	for chunk := range slices.Chunk(make([]store.Draft, last-first+1), size) {
		for i := range chunk {
			chunk[i] = store.Draft{Topic: topicOf(first + i), Name: "e"}
		}
		if err := logs[turn%len(logs)].Append(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
		first += len(chunk)
		turn++
	}
}

// expectReplay reads every topic by pages.
func expectReplay(t *testing.T, log *sqlite.Log, after, last int) {
	t.Helper()
	want := map[string][]int64{}
	for offset := after + 1; offset <= last; offset++ {
		want[topicOf(offset)] = append(want[topicOf(offset)], int64(offset))
	}
	for topic, offsets := range want {
		var got []int64
		for through := int64(after); through < int64(last); {
			events, reached, err := log.Replay(t.Context(), topic, through, int64(last), store.Limit{Events: 20})
			if err != nil || reached == through {
				t.Fatalf("%s after %d: %d events through %d, %v", topic, through, len(events), reached, err)
			}
			for _, e := range events {
				if e.Topic != topic {
					t.Fatalf("%s: got %s at %d", topic, e.Topic, e.Offset)
				}
				got = append(got, e.Offset)
			}
			through = reached
		}
		if !slices.Equal(got, offsets) {
			t.Fatalf("%s has %d events, want %d", topic, len(got), len(offsets))
		}
	}
}

// listed counts the events in each list of topics.
func listed(t *testing.T, db *sql.DB) (all, recent int) {
	t.Helper()
	row := db.QueryRow(`SELECT (SELECT count(*) FROM sluice_topics), (SELECT count(*) FROM sluice_topics_recent)`)
	if err := row.Scan(&all, &recent); err != nil {
		t.Fatal(err)
	}
	return all + recent, recent
}

// TestTopicsLeaveTheSmallList has two logs append so much to one file that all
// topics have had their turn, of which either knows its own half.
func TestTopicsLeaveTheSmallList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	one, other := open(t, dir), open(t, dir)
	last := 4 * sqlite.MaxRecent()
	cut := last * 3 / 4
	appendTopics(t, 1, last, one, other)
	expectReplay(t, other, 0, last)
	expectReplay(t, one, last/2, last)

	db := application(t, dir)
	all, recent := listed(t, db)
	if most := sqlite.MaxRecent() * 5 / 4; all != last || recent == 0 || recent > most {
		t.Errorf("%d events are listed, %d of them in the small list: want all %d, some of them there, at most %d", all, recent, last, most)
	}
	if _, err := db.Exec(`DELETE FROM sluice_log WHERE "offset" <= ?`, cut); err != nil {
		t.Fatal(err)
	}
	if all, _ := listed(t, db); all != last-cut {
		t.Errorf("%d events are listed, want the %d that are left", all, last-cut)
	}
	expectReplay(t, one, cut, last)
}

// TestIndexBecomesTheLists opens a file as an earlier program left it.
func TestIndexBecomesTheLists(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := open(t, dir)
	const before, last = 2000, 3000
	appendTopics(t, 1, before, log)
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`DROP TRIGGER sluice_log_cut`,
		`DROP TRIGGER sluice_log_removed`,
		`DROP TABLE sluice_topics`,
		`DROP TABLE sluice_topics_recent`,
		`CREATE INDEX sluice_log_topic ON sluice_log (topic, "offset")`,
		`ALTER TABLE sluice_meta DROP COLUMN erased`,
		`DROP TABLE sluice_erasures`,
		`ALTER TABLE sluice_meta DROP COLUMN max_payload`,
		`DROP TABLE sluice_rejected`,
		`ALTER TABLE sluice_meta DROP COLUMN installation`,
		`DROP TABLE sluice_revocations`,
		`DROP TABLE sluice_requests`,
		`ALTER TABLE sluice_meta DROP COLUMN revoked`,
		`PRAGMA user_version = 3`,
	} {
		if _, err := application(t, dir).Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	log = open(t, dir)
	appendTopics(t, before+1, last, log)
	expectReplay(t, log, 0, last)
}

func open(t *testing.T, dir string) *sqlite.Log {
	t.Helper()
	log, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}
