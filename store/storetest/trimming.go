package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// awaitTrimmed returns once the log is trimmed up to the offset.
func awaitTrimmed(t *testing.T, log store.Log, offset int64) {
	t.Helper()
	for head := fetchHead(t, log); head.Trimmed != offset; head = fetchHead(t, log) {
		if head.Trimmed > offset {
			t.Fatalf("trimmed up to %d, want %d", head.Trimmed, offset)
		}
		if err := log.Wait(t.Context(), head.Offset); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitCount returns once a query counts want.
func awaitCount(t *testing.T, h Harness, log store.Log, query string, want int) {
	t.Helper()
	for got := -1; got != want; {
		if err := h.DB.QueryRowContext(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if err := log.Wait(t.Context(), fetchHead(t, log).Offset); err != nil {
			t.Fatal(err)
		}
	}
}

const countRows = `SELECT count(*) FROM sluice_log`

// testRetentionTrims has all there is expire, again and again, while a reader
// that keeps up misses nothing and one that does not is told so.
func testRetentionTrims(t *testing.T, h Harness) {
	log := open(t, h, Settings{Poll: polling.Poll, Retention: 20 * time.Millisecond})
	run(t, log)
	const batch = 10
	for turn := range int64(3) {
		mustAppend(t, log, numbered("t", 0, batch)...)
		awaitTrimmed(t, log, (turn+1)*batch)
		awaitCount(t, h, log, countRows, 0)
		if _, err := log.Fetch(t.Context(), turn*batch, store.Limit{Events: 1}); !errors.Is(err, store.ErrTrimmed) {
			t.Errorf("fetch of what has expired: %v, want ErrTrimmed", err)
		}
		if _, _, err := log.Replay(t.Context(), "t", turn*batch, (turn+1)*batch, store.Limit{Events: 1}); !errors.Is(err, store.ErrTrimmed) {
			t.Errorf("replay of what has expired: %v, want ErrTrimmed", err)
		}
		if head := fetchHead(t, log); head.Offset != (turn+1)*batch {
			t.Errorf("the head is %d, want %d", head.Offset, (turn+1)*batch)
		}
	}
	awaitCount(t, h, log, `SELECT count(*) FROM sluice_marks`, 0)
}

// testRetentionCountsFromSequencing writes rows that look old, and makes some
// marks old that time has not.
func testRetentionCountsFromSequencing(t *testing.T, h Harness) {
	// Marks are a thousandth of the retention apart: no test lasts that long.
	log := open(t, h, Settings{Poll: polling.Poll, Retention: 1000 * never})
	mustExec(t, h, `INSERT INTO sluice_outbox (topic, event, inserted_at) VALUES ('t', 'old', `+h.LongAgo+`)`)
	stop := run(t, log)
	fetch(t, log, 0, 1)
	for turn := range 2 { // the log is looked at whenever somebody begins to run it
		stop()
		stop = run(t, log)
		awaitCount(t, h, log, `SELECT count(*) FROM sluice_marks WHERE "offset" = 1`, 1)
		if head := fetchHead(t, log); head.Trimmed != 0 {
			t.Fatalf("turn %d: trimmed up to %d although it has just been sequenced", turn, head.Trimmed)
		}
	}
	stop()
	mustExec(t, h, `UPDATE sluice_marks SET at = `+h.LongAgo)
	stop = run(t, log)
	mustAppend(t, log, numbered("t", 2, 5)...)
	awaitTrimmed(t, log, 1)
	awaitCount(t, h, log, countRows, 5)
	stop()

	// Marks are no more than it takes.
	for range 5 {
		stop = run(t, log)
		mustAppend(t, log, numbered("t", 7, 1)...)
		stop()
	}
	run(t, log)
	awaitCount(t, h, log, `SELECT count(*) FROM sluice_marks`, 1)
	if head := fetchHead(t, log); head.Trimmed != 1 {
		t.Errorf("trimmed up to %d, want 1", head.Trimmed)
	}
}
