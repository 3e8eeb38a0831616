package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

func testCallersShareCommits(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	const callers, calls, size = 32, 10, 3
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			for call := range calls {
				if err := log.Append(t.Context(), numbered(fmt.Sprint("caller:", caller), call*size, size)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	next := map[string]int{}
	for _, e := range fetch(t, log, 0, callers*calls*size) {
		var payload struct{ N int }
		if err := json.Unmarshal(e.Payload, &payload); err != nil || payload.N != next[e.Topic] {
			t.Fatalf("%s: got %s, want number %d", e.Topic, e.Payload, next[e.Topic])
		}
		next[e.Topic]++
	}
}

// ledger is what committers have written, for comparison with the log.
type ledger struct {
	mu        sync.Mutex
	certain   map[string]bool // committed
	uncertain map[string]bool // the database was lost before it answered
}

// size is how many rows are committed.
func (l *ledger) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.certain)
}

// row names one row: the committer, its transaction, and the row therein.
func row(committer, transaction, number int) string {
	return fmt.Sprintf("%d/%d/%d", committer, transaction, number)
}

func testCommittersInAnyOrder(t *testing.T, h Harness) {
	log := openAndRun(t, h)
	const committers, transactions = 8, 25

	// One more writes first and commits last.
	late, err := h.DB.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Rollback()
	if h.OneWriter { // cannot stay open having written; one that comes late will do
		late.Rollback()
	} else if err := insert(t.Context(), late, draft("late", "e", `{}`)); err != nil {
		t.Fatal(err)
	}

	written := ledger{certain: map[string]bool{}}
	var wait sync.WaitGroup
	for committer := range committers {
		wait.Go(func() {
			for transaction := range transactions {
				if err := commitSome(t.Context(), h, &written, committer, transaction); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// Read while they write, in reads of all sizes.
	reader := newReader(t)
	var reading sync.WaitGroup
	stop, cancel := context.WithCancel(t.Context())
	defer cancel()
	reading.Go(func() { reader.follow(stop, log) })
	wait.Wait()
	reader.await(len(written.certain)) // the open transaction holds up nobody
	if h.OneWriter {
		if err := insert(t.Context(), h.DB, draft("late", "e", `{}`)); err != nil {
			t.Fatal(err)
		}
	} else if err := late.Commit(); err != nil {
		t.Fatal(err)
	}
	reader.await(len(written.certain) + 1)
	cancel()
	reading.Wait()

	reader.compare(&written, "late")
	if last := reader.events[len(reader.events)-1]; last != "late" {
		t.Errorf("the last event is %s, want that of the transaction that committed last", last)
	}
}

// testSnapshotIsHeld fills the outbox and has it sequenced while a transaction,
// such as a dump's, still sees it as it was, and while a writer stays open.
func testSnapshotIsHeld(t *testing.T, h Harness) {
	log := open(t, h, polling)
	dump, err := h.DB.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer dump.Close()
	do := func(sql string) {
		t.Helper()
		if _, err := dump.ExecContext(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	do(h.BeginSnapshot)
	do(`SELECT count(*) FROM sluice_outbox`)
	late := func() error { return insert(t.Context(), h.DB, draft("late", "e", `{}`)) }
	if !h.OneWriter {
		tx, err := h.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if err := insert(t.Context(), tx, draft("late", "e", `{}`)); err != nil {
			t.Fatal(err)
		}
		late = tx.Commit
	}
	const turns, rows = 4, 1100 // more than one round moves
	fill := fmt.Sprintf(`INSERT INTO sluice_outbox (topic, event)
		WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %d) SELECT 't', 'e' FROM numbers`, rows)
	mustExec(t, h, fill)
	run(t, log)
	fetch(t, log, 0, rows)
	for turn := range int64(turns - 1) {
		mustExec(t, h, fill)
		fetch(t, log, rows*(turn+1), rows)
	}
	if err := late(); err != nil {
		t.Fatal(err)
	}
	if e := fetch(t, log, turns*rows, 1); e[0].Topic != "late" {
		t.Errorf("the last event is %s, want that of the transaction that committed last", e[0].Topic)
	}
	do(`ROLLBACK`)
}

// commitSome runs one transaction of one to three rows, a fifth of which roll
// back, after a random delay. Where there is one writer at a time the delay
// comes first: within the transaction it would only keep the others waiting.
func commitSome(ctx context.Context, h Harness, written *ledger, committer, transaction int) error {
	delay := time.After(rand.N(4 * time.Millisecond))
	if h.OneWriter {
		<-delay
	}
	tx, err := h.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	rows := 1 + rand.IntN(3)
	for number := range rows {
		name := row(committer, transaction, number)
		if err := insert(ctx, tx, draft(name, "e", `{}`)); err != nil {
			return err
		}
	}
	if !h.OneWriter {
		<-delay
	}
	if rand.IntN(5) == 0 {
		return tx.Rollback()
	}
	err = tx.Commit()
	written.mu.Lock()
	defer written.mu.Unlock()
	for number := range rows {
		if err == nil {
			written.certain[row(committer, transaction, number)] = true
		} else if written.uncertain != nil {
			written.uncertain[row(committer, transaction, number)] = true
		}
	}
	return err
}

// reader follows a log and remembers the topics, which name the rows.
type reader struct {
	t *testing.T

	mu     sync.Mutex
	events []string
	more   sync.Cond // signalled when events has grown, or the reader has ended
	ended  bool
}

func newReader(t *testing.T) *reader {
	r := &reader{t: t}
	r.more.L = &r.mu
	return r
}

// follow reads until ctx ends, through outages of the database.
func (r *reader) follow(ctx context.Context, log store.Log) {
	defer func() {
		r.mu.Lock()
		r.ended = true
		r.mu.Unlock()
		r.more.Broadcast()
	}()
	after := int64(0)
	for ctx.Err() == nil {
		events, err := log.Fetch(ctx, after, store.Limit{Events: 1 + rand.IntN(100)})
		switch {
		case ctx.Err() != nil || store.RetrySafe(err):
		case err != nil:
			r.t.Errorf("Fetch: %v", err)
			return
		}
		r.mu.Lock()
		for _, e := range events {
			if after++; e.Offset != after {
				r.t.Errorf("got offset %d, want %d", e.Offset, after)
			}
			r.events = append(r.events, e.Topic)
		}
		r.mu.Unlock()
		r.more.Broadcast()
		if len(events) == 0 {
			log.Wait(ctx, after)
		}
	}
}

// await returns when count events have been read.
func (r *reader) await(count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.events) < count && !r.ended {
		r.more.Wait()
	}
}

// compare holds what was read against what was written: nothing lost, nothing
// twice, nothing that was rolled back, and each committer's rows in order.
func (r *reader) compare(written *ledger, others ...string) {
	r.t.Helper()
	seen := map[string]bool{}
	for _, other := range others {
		seen[other] = false
	}
	last := map[int][2]int{}
	for _, name := range r.events {
		_, other := seen[name]
		if seen[name] {
			r.t.Errorf("%s came twice", name)
		}
		seen[name] = true
		if other {
			continue
		}
		if !written.certain[name] && !written.uncertain[name] {
			r.t.Errorf("%s came, and was never committed", name)
		}
		var committer, transaction, number int
		fmt.Sscanf(name, "%d/%d/%d", &committer, &transaction, &number)
		if before, any := last[committer]; any && (transaction < before[0] || transaction == before[0] && number != before[1]+1) {
			r.t.Errorf("%s came after transaction %d, row %d", name, before[0], before[1])
		}
		last[committer] = [2]int{transaction, number}
	}
	for name := range written.certain {
		if !seen[name] {
			r.t.Errorf("%s is lost", name)
		}
	}
}
