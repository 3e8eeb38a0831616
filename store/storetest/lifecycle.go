package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

func testCursorsNeverMoveBack(t *testing.T, h Harness) {
	log := open(t, h, polling)
	want := func(name string, want store.Cursor, wantOK bool) {
		t.Helper()
		if got, ok, err := log.Cursor(t.Context(), name); err != nil || ok != wantOK || got != want {
			t.Errorf("cursor %q is %+v, %v, %v; want %+v, %v", name, got, ok, err, want, wantOK)
		}
	}
	commit := func(name, epoch string, offset int64) {
		t.Helper()
		if err := log.Commit(t.Context(), name, store.Cursor{Epoch: epoch, Offset: offset}); err != nil {
			t.Fatal(err)
		}
	}
	want("a", store.Cursor{}, false)
	commit("a", "one", 0)
	want("a", store.Cursor{Epoch: "one"}, true)
	commit("a", "one", 10)
	commit("a", "one", 9)
	commit("a", "one", 10)
	want("a", store.Cursor{Epoch: "one", Offset: 10}, true)
	want("b", store.Cursor{}, false)
	commit("a", "two", 3) // another epoch begins anew
	want("a", store.Cursor{Epoch: "two", Offset: 3}, true)

	var wait sync.WaitGroup
	for offset := range int64(50) {
		wait.Go(func() { commit("raced", "one", offset) })
	}
	wait.Wait()
	want("raced", store.Cursor{Epoch: "one", Offset: 49}, true)
}

func testReopenedLogGoesOn(t *testing.T, h Harness) {
	var epoch string
	for turn := range 3 {
		log, err := h.Open(t.Context(), polling)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, log)
		mustAppend(t, log, numbered("t", turn, 1)...)
		if got := fetch(t, log, 0, turn+1); string(got[turn].Payload) != fmt.Sprintf(`{"n":%d}`, turn) {
			t.Errorf("turn %d: got %s", turn, got[turn].Payload)
		}
		if head := fetchHead(t, log); epoch == "" {
			epoch = head.Epoch
		} else if head.Epoch != epoch {
			t.Errorf("the epoch was %s, and is %s after reopening", epoch, head.Epoch)
		}
		stop()
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func testManyOpenAtOnce(t *testing.T, h Harness) {
	const nodes = 6
	logs := make([]store.Log, nodes)
	var wait sync.WaitGroup
	for i := range logs {
		wait.Go(func() {
			log, err := h.Open(t.Context(), polling)
			if err != nil {
				t.Errorf("open %d: %v", i, err)
				return
			}
			logs[i] = log
			t.Cleanup(func() { log.Close() })
		})
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	run(t, logs[0])
	mustAppend(t, logs[1], numbered("t", 1, 1)...)
	for _, log := range logs {
		fetch(t, log, 0, 1)
		if got, want := fetchHead(t, log), fetchHead(t, logs[0]); got != want {
			t.Errorf("heads differ: %+v and %+v", got, want)
		}
	}
}

// testSequencersTakeTurns has several logs run on one store, ended and begun
// in turn while committers write.
func testSequencersTakeTurns(t *testing.T, h Harness) {
	const nodes, turns, each = 3, 12, 20
	var allowed atomic.Int64 // rows
	allowed.Store(2 * each)
	var logs []store.Log
	var stops []func()
	for range nodes {
		log := open(t, h, polling)
		logs = append(logs, log)
		stops = append(stops, run(t, log))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reading sync.WaitGroup
	readers := make([]*reader, nodes)
	for i, log := range logs {
		readers[i] = newReader(t)
		reading.Go(func() { readers[i].follow(ctx, log) })
	}
	written := ledger{certain: map[string]bool{}}
	var wait sync.WaitGroup
	enough := make(chan struct{})
	for committer := range 3 {
		wait.Go(func() {
			for transaction := 0; ; transaction++ {
				for written.size() > int(allowed.Load()) { // so that what is left at the end does not grow with how slow all this is
					select {
					case <-enough:
						return
					case <-time.After(time.Millisecond):
					}
				}
				select {
				case <-enough:
					return
				default:
				}
				if err := commitSome(t.Context(), h, &written, committer, transaction); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for turn := range turns {
		readers[turn%nodes].await(each * (turn + 1))
		allowed.Store(int64(each * (turn + 3))) // they go on while the lead changes
		stops[turn%nodes]()
		stops[turn%nodes] = run(t, logs[turn%nodes])
	}
	close(enough)
	wait.Wait()
	for _, r := range readers {
		r.await(len(written.certain))
	}
	cancel()
	reading.Wait()
	for _, r := range readers {
		r.compare(&written)
	}
}

func testClosedLogSaysSo(t *testing.T, h Harness) {
	log, err := h.Open(t.Context(), polling)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second does nothing
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Append(t.Context(), numbered("t", 1, 1)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Append: %v, want ErrClosed", err)
	}
	if _, err := log.Fetch(t.Context(), 0, store.Limit{Events: 1}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Fetch: %v, want ErrClosed", err)
	}
	if _, err := log.Extent(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Extent: %v, want ErrClosed", err)
	}
	if _, _, err := log.Replay(t.Context(), "t", 0, 1, store.Limit{Events: 1}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Replay: %v, want ErrClosed", err)
	}
	if _, err := log.Head(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Head: %v, want ErrClosed", err)
	}
	leasesOfAClosedLog(t, log)
	revocationsOfAClosedLog(t, log)
}

// testDatabaseGoesAway stops and crashes the database while committers write
// and a reader reads.
func testDatabaseGoesAway(t *testing.T, h Harness) {
	if h.Stop == nil {
		return // nothing that could go away
	}
	log := openAndRun(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader := newReader(t)
	var reading sync.WaitGroup
	reading.Go(func() { reader.follow(ctx, log) })

	written := ledger{certain: map[string]bool{}, uncertain: map[string]bool{}}
	var wait sync.WaitGroup
	enough := make(chan struct{})
	for committer := range 3 {
		wait.Go(func() {
			for transaction := 0; ; transaction++ {
				select {
				case <-enough:
					return
				default:
				}
				if err := commitSome(t.Context(), h, &written, committer, transaction); err != nil {
					<-time.After(5 * time.Millisecond) // the database is away
				}
			}
		})
	}
	seen := func() int {
		reader.mu.Lock()
		defer reader.mu.Unlock()
		return len(reader.events)
	}
	for _, leave := range []func(testing.TB){h.Stop, h.Kill} {
		reader.await(seen() + 30)
		leave(t)
		err := log.Append(t.Context(), numbered("away", 1, 1))
		var unavailable *store.UnavailableError
		if !errors.As(err, &unavailable) || unavailable.Addr == "" {
			t.Errorf("Append without a database: %v", err)
		}
		if _, err := log.Head(t.Context()); !store.RetrySafe(err) {
			t.Errorf("Head without a database: %v", err)
		}
		h.Start(t)
		reader.await(seen() + 30)
	}
	close(enough)
	wait.Wait()
	if err := log.Append(t.Context(), []store.Draft{draft("last", "e", `{}`)}); err != nil {
		t.Errorf("Append after the database came back: %v", err)
	}
	reader.awaitTopic("last")
	cancel()
	reading.Wait()
	reader.compare(&written, "last", "away")
}

// awaitTopic returns when the topic's event has been read.
func (r *reader) awaitTopic(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.ended && (len(r.events) == 0 || r.events[len(r.events)-1] != topic) {
		r.more.Wait()
	}
}
