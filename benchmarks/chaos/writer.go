package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// writer inserts numbered events as an application does, in transactions
// that take their time, and keeps book of what it knows to be committed. A
// number is used once: one that was rolled back must never be seen.
type writer struct {
	// Immutable after its making.
	id        int
	outbox    outbox
	topics    []string
	random    *rand.Rand
	committed *atomic.Int64 // events of all writers
	pause     time.Duration // between transactions, at most

	// Owned by run; the run's when it has ended.
	next       []int64   // by topic
	known      []numbers // by topic: committed for certain
	unknown    []numbers // by topic: nobody told whether they are committed
	rolledBack int64     // transactions
	lostSight  int64     // transactions whose end nobody told
}

func newWriter(id int, seed uint64, to outbox, topics []string, committed *atomic.Int64) *writer {
	return &writer{
		id: id, outbox: to, topics: topics, committed: committed, pause: writePause,
		random: rand.New(rand.NewPCG(seed, 1000+uint64(id))),
		next:   make([]int64, len(topics)), known: make([]numbers, len(topics)), unknown: make([]numbers, len(topics)),
	}
}

// What transactions are like.
const (
	writePause    = 20 * time.Millisecond // before the next one, at most, by default
	writeHold     = 5 * time.Millisecond  // between inserts and commit, at most
	writeLate     = time.Second           // how long a late one is held, at most
	writeEvents   = 8                     // at most
	writeBurst    = 500                   // in one that is large, at most: more than a mailbox holds
	writeRetry    = 50 * time.Millisecond // after a connection was lost
	oneInRollback = 10
	oneInLate     = 40
	oneInBurst    = 60
	oneInLarge    = 50 // payloads
	oneInHuge     = 20 // of those that are alone
	oneInOdd      = 30
)

// run writes until enough is closed. An error of the database is part of the
// game; so run returns none.
func (w *writer) run(ctx context.Context, enough <-chan struct{}) {
	for !over(ctx, enough) {
		conn, err := w.outbox.connect(ctx)
		if err == nil {
			for err == nil && !over(ctx, enough) {
				pause(ctx, enough, w.upTo(w.pause))
				err = w.transaction(ctx, conn)
			}
			conn.close(ctx)
		}
		if err != nil {
			pause(ctx, enough, writeRetry)
		}
	}
}

func (w *writer) upTo(most time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(most)))
}

// transaction writes a few events. What it means to write does not depend on
// what becomes of it, so that a seed writes the same again.
func (w *writer) transaction(ctx context.Context, conn outboxConn) error {
	rollBack := w.random.IntN(oneInRollback) == 0
	holds := w.upTo(writeHold)
	if w.random.IntN(oneInLate) == 0 { // later than many that begin after it
		holds = w.upTo(writeLate)
	}
	most := writeEvents
	if w.random.IntN(oneInBurst) == 0 {
		most = writeBurst
	}
	topics := make([]int, 1+w.random.IntN(most))
	written := make([]int64, len(topics))
	rows := make([]outboxRow, len(topics))
	for i := range topics {
		topics[i] = w.random.IntN(len(w.topics))
		written[i] = w.next[topics[i]]
		w.next[topics[i]]++
		rows[i] = outboxRow{w.topics[topics[i]], swarm.EventName, w.payload(written[i], len(topics))}
	}
	tx, err := conn.begin(ctx, rows)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // of no effect after the commit
	pause(ctx, nil, holds)
	if rollBack {
		w.rolledBack++
		return tx.Rollback(ctx)
	}
	err = tx.Commit(ctx)
	if err != nil {
		w.lostSight++
	}
	for i, topic := range topics {
		if err != nil {
			w.unknown[topic].add(written[i])
		} else {
			w.known[topic].add(written[i])
		}
	}
	if err == nil {
		w.committed.Add(int64(len(topics)))
	}
	return err
}

// odd are members that a careless decoder or encoder stumbles over.
var odd = []string{
	`"\ud800"`, `"\u0000"`, `1e999`, `"\u2028</script>"`, strings.Repeat("[", 400) + strings.Repeat("]", 400),
	`{"offset":9007199254740993,"data":{"n":1}}`, `"` + "\U0001F6F0\u202e" + `"`, `{"":{"":[]}}`,
}

// payload is small, mostly; the larger ones stand alone in their transaction.
func (w *writer) payload(number int64, among int) string {
	padding, extra := w.random.IntN(256), ""
	if w.random.IntN(oneInLarge) == 0 {
		padding = w.random.IntN(largePayload)
	}
	if w.random.IntN(oneInHuge) == 0 && among == 1 {
		padding = maxPayload - 256
	}
	if w.random.IntN(oneInOdd) == 0 {
		extra = `,"odd":` + odd[w.random.IntN(len(odd))]
	}
	padding = min(padding, maxPayload-256-len(extra)) // what is larger is set aside
	return fmt.Sprintf(`{"w":%d,"n":%d,"pad":"%s"%s}`, w.id, number, strings.Repeat("x", padding), extra)
}

// resolve finds out what became of those transactions that nobody told the end
// of: their events came into the log, or never will.
func (w *writer) resolve(a *audit) {
	for topic, unknown := range w.unknown {
		for _, e := range a.byTopic[w.topics[topic]] {
			if e.writer == int64(w.id) && unknown.has(e.number) && w.known[topic].add(e.number) {
				w.committed.Add(1)
			}
		}
	}
}

// pause waits, unless it is over.
func pause(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	case <-ctx.Done():
	}
}

func over(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}
