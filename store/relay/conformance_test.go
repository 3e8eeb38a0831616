package relay_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/wake"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/relay"
	"github.com/sluicehq/sluice/store/sqlite"
	"github.com/sluicehq/sluice/store/storetest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m))
}

var quiet = slog.New(slog.DiscardHandler)

// faulty is a bus that loses, repeats, delays and reorders.
var faulty = clustertest.Faults{Drop: 0.2, Repeat: 0.2, Reorder: 0.2, Delay: 30 * time.Millisecond}

// TestConformance runs the suite on logs that are read at another node than the one that
// sequences, whose rounds come in pages: on a bus without faults, and on one that is
// nothing but faults. Of what is passed on, it leaves out what takes long. The log beneath
// is a file, since that is faster. What is a database's own is tested once more on
// PostgreSQL.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, suite := range map[string]struct {
		on     func(t *testing.T) (storetest.Harness, opener)
		faults clustertest.Faults
		grace  time.Duration
		only   []string
	}{
		"sqlite":                {onSQLite, clustertest.Faults{}, time.Second, slices.Concat(reading, passedOn)},
		"sqlite,on a bad bus":   {onSQLite, faulty, time.Millisecond, reading},
		"postgres":              {onPostgres, clustertest.Faults{}, time.Second, databases},
		"postgres,on a bad bus": {onPostgres, faulty, time.Millisecond, databases},
	} {
		var hits atomic.Int64
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Cleanup(func() {
				t.Logf("pages have answered %d reads", hits.Load())
				if suite.faults == (clustertest.Faults{}) && hits.Load() < 10 {
					t.Errorf("pages have answered %d reads", hits.Load())
				}
			})
			storetest.Run(t, func(t *testing.T) storetest.Harness {
				h, open := suite.on(t)
				return relayed(t, h, open, suite.faults, suite.grace, &hits)
			}, suite.only...)
		})
	}
}

// reading are the cases that read events, or wait for some: all else is passed on, whatever
// becomes of the bus.
var reading = []string{"AppendedIsFetched", "FetchKeepsToItsLimits", "FetchRefusesNonsense", "FetchOfTrimmedEvents", "FetchNoticesAGap",
	"WhatIsRemovedCountsAsTrimmed", "EventsKeepTheirOffsets", "ReplayReadsOneTopic", "ReplayEndsWithTheLog", "TailCountsFromTheEnd", "RetentionTrims",
	"ErasingEmptiesPayloads", "ErasuresAreTold", "EpochsAreAChain", "ReadersKeepToTheirEpoch", "CommittersInAnyOrder", "AppendWakes",
	"CommitWakes", "WaitEnds", "ReopenedLogGoesOn", "ManyOpenAtOnce", "SequencersTakeTurns", "SnapshotIsHeld", "DatabaseGoesAway"}

// passedOn are cases of all else, those that take little.
var passedOn = []string{"InstallationStays", "InstallationsDiffer", "ValidEventsAreTaken", "InvalidEventsAreRefused", "BoundIsTheLogs",
	"CallersShareCommits", "CursorsNeverMoveBack", "LeasesAreExclusive", "LeasesAreReleased", "LeasesAreListed", "RevocationsAreTold",
	"InvalidRevocationsAreRefused", "ClosedLogSaysSo"}

// databases are the cases that depend on who tells of what, and when.
var databases = []string{"AppendedIsFetched", "FetchOfTrimmedEvents", "RetentionTrims", "ErasuresAreTold", "ReadersKeepToTheirEpoch",
	"AppendWakes", "CommitWakes", "WaitEnds", "CommittersInAnyOrder", "SequencersTakeTurns", "DatabaseGoesAway"}

// opener opens a log that may be relayed.
type opener func(ctx context.Context, settings storetest.Settings) (relay.Source, error)

// relayed has the logs of a harness read through a bus.
func relayed(t *testing.T, h storetest.Harness, open opener, faults clustertest.Faults, grace time.Duration, hits *atomic.Int64) storetest.Harness {
	net := clustertest.NewNet(t, 1)
	net.SetFaults(faults)
	advance(t, net)
	var nodes atomic.Int64
	h.Remembers = true
	h.Open = func(ctx context.Context, settings storetest.Settings) (store.Log, error) {
		log, err := open(ctx, settings)
		if err != nil {
			return nil, err
		}
		n := nodes.Add(1)
		p := &pair{buses: [2]cluster.Bus{net.Join(fmt.Sprint("sequencer", n)), net.Join(fmt.Sprint("reader", n))}, hits: hits}
		config := relay.Config{Bytes: relay.MinBytes, Grace: grace, Logger: quiet}
		if config.Metrics, err = metrics.New(metrics.Config{}); err != nil {
			return nil, err
		}
		if p.sequencer, err = relay.New(log, p.buses[0], config); err != nil {
			return nil, err
		}
		if p.Log, err = relay.New(reader{log}, p.buses[1], config); err != nil {
			return nil, err
		}
		return p, nil
	}
	return h
}

func onPostgres(t *testing.T) (h storetest.Harness, open opener) {
	t.Helper()
	h = storetest.Harness{Announces: true, LongAgo: `timestamptz '2001-01-01'`,
		BeginSnapshot: `BEGIN ISOLATION LEVEL REPEATABLE READ`, BeginEpoch: `SELECT sluice_begin_epoch()`}
	var url string
	if strings.HasSuffix(t.Name(), "/DatabaseGoesAway") {
		server := pgtest.NewServer(t)
		url = server.Schema(t)
		h.Stop, h.Kill, h.Start = server.Stop, server.Kill, server.Start
	} else {
		url = pgtest.Schema(t)
	}
	h.DB = application(t, "pgx", url)
	return h, func(ctx context.Context, settings storetest.Settings) (relay.Source, error) {
		log, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Migrate: true, PollInterval: settings.Poll, Retention: settings.Retention, MaxPayload: settings.MaxPayload, MaxRevocations: settings.MaxRevocations, Logger: quiet})
		if err != nil {
			return nil, err // not a nil *postgres.Log in an interface
		}
		return log, nil
	}
}

func onSQLite(t *testing.T) (h storetest.Harness, open opener) {
	t.Helper()
	dir := t.TempDir()
	h = storetest.Harness{
		DB:        application(t, "sqlite", "file:"+filepath.Join(dir, sqlite.FileName)+"?_txlock=immediate&_pragma=busy_timeout(900000)"),
		OneWriter: true, LongAgo: `978307200000000`, BeginSnapshot: `BEGIN DEFERRED`,
		BeginEpoch: `INSERT INTO sluice_epochs DEFAULT VALUES`, TakesAnyBytes: true,
	}
	return h, func(ctx context.Context, settings storetest.Settings) (relay.Source, error) {
		log, err := sqlite.Open(ctx, sqlite.Config{Dir: dir, PollInterval: settings.Poll, Retention: settings.Retention, MaxPayload: settings.MaxPayload, MaxRevocations: settings.MaxRevocations, Logger: quiet})
		if err != nil {
			return nil, err
		}
		return &file{Log: log}, nil
	}
}

func application(t *testing.T, driver, name string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// advance has a network's clock follow the real one until the test ends.
func advance(t *testing.T, net *clustertest.Net) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for last := time.Now(); ; {
			select {
			case <-time.After(5 * time.Millisecond):
				net.Advance(time.Since(last))
				last = time.Now()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-ended })
}

// pair is two nodes in one: what the one sequences, the other reads.
type pair struct {
	*relay.Log // the reader's

	sequencer *relay.Log
	buses     [2]cluster.Bus
	hits      *atomic.Int64
}

func (p *pair) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var errs []error
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{p.buses[0].Run, p.buses[1].Run, p.Log.Run, p.sequencer.Run} {
		running.Go(func() {
			defer cancel() // who runs already says so
			err := run(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	running.Wait()
	p.hits.Add(p.Log.State().Hits)
	return errors.Join(errs...)
}

// reader is a log that is run elsewhere.
type reader struct{ relay.Source }

func (reader) OnSequenced(func(store.Sequenced), func() bool) {}
func (reader) Leads() bool                                    { return false }
func (reader) Run(ctx context.Context) error                  { <-ctx.Done(); return nil }

// file is a log in a file, which tells of its rounds as it sees its head move.
type file struct {
	*sqlite.Log
	head  wake.Head
	told  func(store.Sequenced)
	leads atomic.Bool
}

func (f *file) OnSequenced(told func(store.Sequenced), _ func() bool) { f.told = told }
func (f *file) Leads() bool                                           { return f.leads.Load() }
func (f *file) KnownHead() int64                                      { return f.head.Offset() }
func (f *file) Advance(offset int64)                                  { f.head.Advance(offset) }

func (f *file) WaitFor(ctx context.Context, after int64, atMost time.Duration) error {
	either, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer cancel()
	waiting.Go(func() {
		_ = f.Wait(either, after) // until the poll, or it is woken
		cancel()
	})
	if atMost == 0 {
		atMost = time.Hour
	}
	_ = f.head.Wait(either, after, atMost)
	return ctx.Err()
}

func (f *file) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	known := f.head.Offset()
	events, err := f.Log.Fetch(ctx, after, limit)
	if err == nil && len(events) == 0 {
		f.head.Disprove(known, after)
	}
	return events, err
}

func (f *file) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { f.watch(ctx) })
	return f.Log.Run(ctx)
}

func (f *file) watch(ctx context.Context) {
	f.leads.Store(true)
	defer f.leads.Store(false)
	first, err := f.Head(ctx)
	if err != nil {
		return
	}
	for last := first.Offset; f.Wait(ctx, last) == nil; {
		if head, err := f.Head(ctx); err == nil && head.Offset != last {
			f.told(store.Sequenced{After: last, Through: head.Offset})
			f.head.Advance(head.Offset)
			last = head.Offset
		}
	}
}
