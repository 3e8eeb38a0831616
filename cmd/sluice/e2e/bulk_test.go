package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sluicehq/sluice/internal/pgtest"
)

const (
	bulkCommitters = 8
	bulkTopics     = 100
	bulkRows       = 100_000 // committed; what is rolled back comes on top
)

// A row's mark says who wrote it and as which of its rows. Rows of
// transactions that are rolled back use up marks too, so that each that
// arrives was either due or not.
type mark struct {
	By  int
	Row int
}

// marks are the rows of each committer, in the order of its commits.
type marks [bulkCommitters][]int

// A hundred thousand rows, written by several connections with delays before
// their commits and with rollbacks between them, reach a hundred subscribers:
// each row of its topic once, none of a rollback, and those of one writer in
// the order in which it wrote them.
func TestBulk(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	s := serve(t, "--database-url", url, "--mailbox-size", "100000", "--mailbox-bytes", "256MiB").ready(t)

	group, ctx := errgroup.WithContext(t.Context())
	var due, got [bulkTopics]marks
	var last [bulkTopics]time.Time
	for i := range bulkTopics {
		sub, err := subscribe(ctx, s.public, topicName(i), i%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		defer sub.conn.Close()
		group.Go(func() (err error) {
			got[i], err = collect(sub, i%2 == 0)
			last[i] = time.Now()
			return err
		})
	}

	began := time.Now()
	writers, writing := errgroup.WithContext(ctx)
	written := make([][bulkTopics][]int, bulkCommitters)
	for by := range bulkCommitters {
		db := database(t, url)
		writers.Go(func() (err error) {
			written[by], err = commit(writing, db, by)
			return err
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatalf("write: %v (subscribers: %v)", err, context.Cause(ctx))
	}
	inserted := time.Since(began)
	for by, topics := range written {
		for i, rows := range topics {
			due[i][by] = rows
		}
	}
	// What arrives after this was due before it.
	db := database(t, url)
	for i := range bulkTopics {
		if _, err := db.Exec(ctx, `INSERT INTO sluice_outbox (topic, event) VALUES ($1, 'end')`, topicName(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}

	for i := range bulkTopics {
		for by := range bulkCommitters {
			if !slices.Equal(got[i][by], due[i][by]) {
				t.Errorf("%s: of writer %d arrived %v, want %v", topicName(i), by, got[i][by], due[i][by])
			}
		}
	}
	took := slices.MaxFunc(last[:], time.Time.Compare).Sub(began)
	t.Logf("%d rows inserted in %v and received in %v: %.0f events/s (race detector: %v)",
		bulkRows, inserted.Round(time.Millisecond), took.Round(time.Millisecond), bulkRows/took.Seconds(), raceEnabled)
}

func topicName(i int) string { return fmt.Sprintf("bulk:%d", i) }

// commit writes a committer's share of the rows in transactions of random
// size, and tells the rows of each topic that were committed.
func commit(ctx context.Context, db *pgx.Conn, by int) (committed [bulkTopics][]int, err error) {
	random := rand.New(rand.NewPCG(uint64(by), 1))
	row := 0
	for left := bulkRows / bulkCommitters; left > 0; {
		size := min(left, 1+random.IntN(100))
		keep := random.IntN(10) > 0
		topics, payloads := make([]string, size), make([]string, size)
		rows := make([]int, size)
		for i := range size {
			topic := random.IntN(bulkTopics)
			rows[i] = topic
			topics[i], payloads[i] = topicName(topic), fmt.Sprintf(`{"by":%d,"row":%d}`, by, row+i)
		}
		tx, err := db.Begin(ctx)
		if err != nil {
			return committed, fmt.Errorf("begin: %w", err)
		}
		_, err = tx.Exec(ctx, `INSERT INTO sluice_outbox (topic, event, payload)
			SELECT topic, 'row', payload::json FROM unnest($1::text[], $2::text[]) AS rows (topic, payload)`, topics, payloads)
		if err != nil {
			return committed, fmt.Errorf("insert: %w", err)
		}
		if _, err := tx.Exec(ctx, `SELECT pg_sleep($1)`, random.Float64()/200); err != nil {
			return committed, fmt.Errorf("delay: %w", err)
		}
		if !keep {
			err = tx.Rollback(ctx)
		} else if err = tx.Commit(ctx); err == nil {
			for i, topic := range rows {
				committed[topic] = append(committed[topic], row+i)
			}
			left -= size
		}
		if err != nil {
			return committed, fmt.Errorf("end a transaction: %w", err)
		}
		row += size
	}
	return committed, nil
}

// collect reads a topic up to its end.
func collect(sub *subscriber, numbered bool) (got marks, err error) {
	var last int64
	for {
		event, payload, err := sub.read()
		if err != nil {
			return got, err
		}
		if numbered {
			var envelope struct {
				Offset int64
				Data   json.RawMessage
			}
			if err := json.Unmarshal(payload, &envelope); err != nil {
				return got, fmt.Errorf("%s: %s: %w", sub.topic, payload, err)
			}
			if envelope.Offset <= last {
				return got, fmt.Errorf("%s: offset %d after %d", sub.topic, envelope.Offset, last)
			}
			last, payload = envelope.Offset, envelope.Data
		}
		if event == "end" {
			return got, nil
		}
		var m mark
		if err := json.Unmarshal(payload, &m); err != nil || m.By < 0 || m.By >= bulkCommitters {
			return got, fmt.Errorf("%s: unknown payload %s: %v", sub.topic, payload, err)
		}
		got[m.By] = append(got[m.By], m.Row)
	}
}
