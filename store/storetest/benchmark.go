package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Benchmark measures what both engines do: appending, reading and, where rows
// can be inserted while nobody sequences, sequencing.
func Benchmark(b *testing.B, harness func(b *testing.B) Harness) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("Append/batch=%d", size), func(b *testing.B) { benchmarkAppend(b, harness(b), size) })
	}
	b.Run("Append/callers=64", func(b *testing.B) { benchmarkCallers(b, harness(b), 64) })
	for _, size := range []int{50, 500} {
		b.Run(fmt.Sprintf("Fetch/batch=%d", size), func(b *testing.B) { benchmarkFetch(b, harness(b), size) })
	}
	for _, size := range []int{1, 100, 200} {
		b.Run(fmt.Sprintf("Replay/page=%d", size), func(b *testing.B) { benchmarkReplay(b, harness(b), size) })
	}
	b.Run("Trim", func(b *testing.B) { benchmarkTrim(b, harness(b)) })
	b.Run("InsertToFetch", func(b *testing.B) { benchmarkLatency(b, harness(b)) })
	b.Run("Sequence", func(b *testing.B) { benchmarkSequence(b, harness(b)) })
}

// benchmarkDrafts have the size of a typical event: some 150 bytes.
func benchmarkDrafts(count int) []store.Draft {
	drafts := make([]store.Draft, count)
	for i := range drafts {
		drafts[i] = store.Draft{
			Topic: fmt.Sprintf("orders:%d", i%100), Name: "created", Key: fmt.Append(nil, i),
			Payload: fmt.Appendf(nil, `{"id":%d,"text":%q}`, i, strings.Repeat("x", 100)),
		}
	}
	return drafts
}

func benchmarkOpen(b *testing.B, h Harness) store.Log {
	b.Helper()
	log, err := h.Open(b.Context(), polling)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	return log
}

func reportRate(b *testing.B, events int) {
	b.Helper()
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func benchmarkAppend(b *testing.B, h Harness, size int) {
	log := benchmarkOpen(b, h)
	drafts := benchmarkDrafts(size)
	b.ReportAllocs()
	for b.Loop() {
		if err := log.Append(b.Context(), drafts); err != nil {
			b.Fatal(err)
		}
	}
	reportRate(b, size*b.N)
}

func benchmarkCallers(b *testing.B, h Harness, callers int) {
	log := benchmarkOpen(b, h)
	drafts := benchmarkDrafts(1)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if err := log.Append(b.Context(), drafts); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wait.Wait()
	reportRate(b, b.N)
}

const benchmarkEvents = 20000

func benchmarkFetch(b *testing.B, h Harness, size int) {
	log := benchmarkOpen(b, h)
	if err := log.Append(b.Context(), benchmarkDrafts(benchmarkEvents)); err != nil {
		b.Fatal(err)
	}
	sequence(b, log, benchmarkEvents)
	b.ReportAllocs()
	after, events := int64(0), 0
	for b.Loop() {
		batch, err := log.Fetch(b.Context(), after, store.Limit{Events: size, Bytes: 8 << 20})
		if err != nil || len(batch) != size {
			b.Fatalf("%d events, %v", len(batch), err)
		}
		events += size
		after = (after + int64(size)) % benchmarkEvents
	}
	reportRate(b, events)
}

// benchmarkReplay reads pages of one topic in a hundred.
func benchmarkReplay(b *testing.B, h Harness, size int) {
	log := benchmarkOpen(b, h)
	if err := log.Append(b.Context(), benchmarkDrafts(benchmarkEvents)); err != nil {
		b.Fatal(err)
	}
	sequence(b, log, benchmarkEvents)
	b.ReportAllocs()
	for b.Loop() {
		page, _, err := log.Replay(b.Context(), "orders:7", 0, benchmarkEvents, store.Limit{Events: size, Bytes: 8 << 20})
		if err != nil || len(page) != size {
			b.Fatalf("%d events, %v", len(page), err)
		}
	}
	reportRate(b, size*b.N)
}

// benchmarkLatency measures one event's way from an application's commit to a
// reader, with nothing else to do. Engines that do not announce commits poll.
func benchmarkLatency(b *testing.B, h Harness) {
	log := benchmarkOpen(b, h)
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { log.Run(ctx) })
	after := int64(0)
	d := benchmarkDrafts(1)[0]
	for b.Loop() {
		if err := insert(b.Context(), h.DB, d); err != nil {
			b.Fatal(err)
		}
		for {
			events, err := log.Fetch(b.Context(), after, store.Limit{Events: 1})
			if err != nil {
				b.Fatal(err)
			}
			if len(events) == 1 {
				break
			}
			log.Wait(b.Context(), after)
		}
		after++
	}
	cancel()
	running.Wait()
}

// sequence runs the log until it holds count events.
func sequence(b *testing.B, log store.Log, count int64) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := log.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	for {
		head, err := log.Head(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if head.Offset >= count {
			break
		}
		log.Wait(b.Context(), head.Offset)
	}
	cancel()
	running.Wait()
}

// benchmarkTrim removes events one by one, as from a partition that is still
// being filled.
func benchmarkTrim(b *testing.B, h Harness) {
	log, err := h.Open(b.Context(), Settings{Poll: polling.Poll, Retention: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	head := int64(0)
	for b.Loop() {
		b.StopTimer()
		if err := log.Append(b.Context(), benchmarkDrafts(benchmarkEvents)); err != nil {
			b.Fatal(err)
		}
		head += benchmarkEvents
		sequence(b, log, head)
		for _, statement := range []string{
			`DELETE FROM sluice_marks`,
			fmt.Sprintf(`INSERT INTO sluice_marks SELECT %s, %d`, h.LongAgo, head),
		} {
			if _, err := h.DB.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		ctx, cancel := context.WithCancel(b.Context())
		var running sync.WaitGroup
		running.Go(func() { log.Run(ctx) })
		for left := 1; left > 0; {
			if err := h.DB.QueryRowContext(b.Context(), countRows).Scan(&left); err != nil {
				b.Fatal(err)
			}
			log.Wait(b.Context(), head)
		}
		cancel()
		running.Wait()
	}
	reportRate(b, int(head))
}

func benchmarkSequence(b *testing.B, h Harness) {
	log := benchmarkOpen(b, h)
	rows := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		tx, err := h.DB.BeginTx(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		const insertMany = `INSERT INTO sluice_outbox (topic, event, payload, key)
			WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 20000)
			SELECT 'orders:' || n % 100, 'created', '{"id":1,"text":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}', n FROM numbers`
		if _, err := tx.ExecContext(b.Context(), insertMany); err != nil {
			b.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		rows += benchmarkEvents
		b.StartTimer()
		sequence(b, log, rows)
	}
	reportRate(b, int(rows))
}
