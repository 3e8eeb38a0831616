package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// Harness is an empty store and the ways to it.
type Harness struct {
	// Open opens a log on the store, migrating it where needed. It may be
	// called several times, also concurrently. The suite closes the log.
	Open func(ctx context.Context, settings Settings) (store.Log, error)

	// DB is how an application reaches the store. Its transactions may write.
	DB *sql.DB

	// OneWriter says that a transaction which has written keeps all other
	// writers waiting, so that the suite leaves none open.
	OneWriter bool

	// Announces says that a row which another connection commits wakes the
	// log at once. Otherwise it is found by polling.
	Announces bool

	// LongAgo is a moment of years ago as the tables have it.
	LongAgo string

	// BeginEpoch is what an operator begins an epoch with.
	BeginEpoch string

	// BeginSnapshot begins a transaction whose first SELECT fixes what it sees.
	BeginSnapshot string

	// TakesAnyBytes says that the tables cannot refuse text that is no UTF-8.
	TakesAnyBytes bool

	// Remembers says that Fetch may answer from memory, until the log's head is asked for
	// the next time: only then is seen what was done by SQL.
	Remembers bool

	// Stop, Kill and Start make the database go away, in order or as in a
	// crash, and come back. Nil where it cannot go away by itself.
	Stop, Kill, Start func(t testing.TB)
}

// Settings are those of a log's Config that cases vary.
type Settings struct {
	Poll      time.Duration
	Retention time.Duration

	MaxPayload     int64
	MaxRevocations int
}

// polling finds what is not announced soon, and neverPolling late enough for
// a test that expects to be woken to hang without it.
var (
	polling      = Settings{Poll: 10 * time.Millisecond}
	neverPolling = Settings{Poll: time.Hour}
)

// Run runs the suite, or only the cases that are named. harness is called once for each.
func Run(t *testing.T, harness func(t *testing.T) Harness, only ...string) {
	cases := []struct {
		name string
		test func(t *testing.T, h Harness)
	}{
		{"AppendedIsFetched", testAppendedIsFetched},
		{"FetchKeepsToItsLimits", testFetchKeepsToItsLimits},
		{"FetchRefusesNonsense", testFetchRefusesNonsense},
		{"FetchOfTrimmedEvents", testFetchOfTrimmedEvents},
		{"FetchNoticesAGap", testFetchNoticesAGap},
		{"WhatIsRemovedCountsAsTrimmed", testWhatIsRemovedCountsAsTrimmed},
		{"EventsKeepTheirOffsets", testEventsKeepTheirOffsets},
		{"ReplayReadsOneTopic", testReplayReadsOneTopic},
		{"ReplayEndsWithTheLog", testReplayEndsWithTheLog},
		{"ReplayRefusesNonsense", testReplayRefusesNonsense},
		{"ReplayOfTrimmedEvents", testReplayOfTrimmedEvents},
		{"TailCountsFromTheEnd", testTailCountsFromTheEnd},
		{"TailRefusesNonsense", testTailRefusesNonsense},
		{"RetentionTrims", testRetentionTrims},
		{"RetentionCountsFromSequencing", testRetentionCountsFromSequencing},
		{"ErasingEmptiesPayloads", testErasingEmptiesPayloads},
		{"ErasuresAreTold", testErasuresAreTold},
		{"EpochsAreAChain", testEpochsAreAChain},
		{"ReadersKeepToTheirEpoch", testReadersKeepToTheirEpoch},
		{"InstallationStays", testInstallationStays},
		{"InstallationsDiffer", func(t *testing.T, h Harness) { testInstallationsDiffer(t, h, harness(t)) }},
		{"ValidEventsAreTaken", testValidEventsAreTaken},
		{"InvalidEventsAreRefused", testInvalidEventsAreRefused},
		{"PayloadsAreBounded", testPayloadsAreBounded},
		{"BoundIsTheLogs", testBoundIsTheLogs},
		{"CallersShareCommits", testCallersShareCommits},
		{"CommittersInAnyOrder", testCommittersInAnyOrder},
		{"AppendWakes", testAppendWakes},
		{"CommitWakes", testCommitWakes},
		{"WaitEnds", testWaitEnds},
		{"CursorsNeverMoveBack", testCursorsNeverMoveBack},
		{"CursorsAreMoved", testCursorsAreMoved},
		{"LeasesAreExclusive", testLeasesAreExclusive},
		{"LeasesExpire", testLeasesExpire},
		{"LeasesAreRenewedLate", testLeasesAreRenewedLate},
		{"LeasesAreReleased", testLeasesAreReleased},
		{"LeasesKnownToBeOver", testLeasesKnownToBeOver},
		{"LeasesAreUnheardOf", testLeasesAreUnheardOf},
		{"LeasesAreRaced", testLeasesAreRaced},
		{"LeasesAreListed", testLeasesAreListed},
		{"RevocationsAreTold", testRevocationsAreTold},
		{"RevocationsAreNeverWeakened", testRevocationsAreNeverWeakened},
		{"RevocationsEnd", testRevocationsEnd},
		{"RevocationsAreBounded", testRevocationsAreBounded},
		{"RevocationsAreRaced", testRevocationsAreRaced},
		{"InvalidRevocationsAreRefused", testInvalidRevocationsAreRefused},
		{"RequestsAppendOnce", testRequestsAppendOnce},
		{"RequestsThatFailAreNotKept", testRequestsThatFailAreNotKept},
		{"RequestsAreKeptForADay", testRequestsAreKeptForADay},
		{"RequestsAreRaced", testRequestsAreRaced},
		{"RequestsOutliveTheirCallers", testRequestsOutliveTheirCallers},
		{"ReopenedLogGoesOn", testReopenedLogGoesOn},
		{"ManyOpenAtOnce", testManyOpenAtOnce},
		{"SequencersTakeTurns", testSequencersTakeTurns},
		{"ClosedLogSaysSo", testClosedLogSaysSo},
		{"SnapshotIsHeld", testSnapshotIsHeld},
		{"DatabaseGoesAway", testDatabaseGoesAway},
	}
	found := 0
	for _, c := range cases {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		found++
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, harness(t))
		})
	}
	if len(only) > 0 && found != len(only) {
		t.Errorf("the suite has %d of the cases %v", found, only)
	}
}

// see has a log that reads from memory hear of what was done by SQL.
func see(t *testing.T, h Harness, log store.Log) {
	t.Helper()
	if h.Remembers {
		fetchHead(t, log)
	}
}

// open opens a log that is closed when the test ends.
func open(t *testing.T, h Harness, settings Settings) store.Log {
	t.Helper()
	log, err := h.Open(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return log
}

// run runs the log until stop is called, at the latest when the test ends.
func run(t *testing.T, log store.Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	stop = func() {
		if cancel == nil {
			return
		}
		cancel()
		cancel = nil
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// openAndRun is what most cases begin with.
func openAndRun(t *testing.T, h Harness) store.Log {
	t.Helper()
	log := open(t, h, polling)
	run(t, log)
	return log
}

func mustAppend(t *testing.T, log store.Log, drafts ...store.Draft) {
	t.Helper()
	if err := log.Append(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
}

// numbered returns drafts whose payloads count up from first.
func numbered(topic string, first, count int) []store.Draft {
	drafts := make([]store.Draft, count)
	for i := range drafts {
		drafts[i] = store.Draft{Topic: topic, Name: "created", Payload: fmt.Appendf(nil, `{"n":%d}`, first+i)}
	}
	return drafts
}

// fetch returns the first count events after the offset, however many reads
// it takes and however long they are to come.
func fetch(t *testing.T, log store.Log, after int64, count int) []store.Event {
	t.Helper()
	var all []store.Event
	for len(all) < count {
		events, err := log.Fetch(t.Context(), after, store.Limit{Events: count - len(all)})
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			if err := log.Wait(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for _, e := range events {
			if after++; e.Offset != after {
				t.Fatalf("got offset %d, want %d", e.Offset, after)
			}
		}
		all = append(all, events...)
	}
	return all
}

// execer is *sql.DB or *sql.Tx.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// insert writes a row as an application does.
func insert(ctx context.Context, db execer, d store.Draft) error {
	var key any
	if d.Key != nil {
		key = string(d.Key)
	}
	_, err := db.ExecContext(ctx, `INSERT INTO sluice_outbox (topic, event, payload, key) VALUES ($1, $2, $3, $4)`,
		d.Topic, d.Name, string(d.Payload), key)
	return err
}

func mustExec(t *testing.T, h Harness, sql string) {
	t.Helper()
	if _, err := h.DB.ExecContext(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}
