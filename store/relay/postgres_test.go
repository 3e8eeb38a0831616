package relay_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // how applications reach the store here

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/relay"
)

// node is one of a cluster, whose reads of the database are counted.
type node struct {
	*relay.Log
	source *counting
	bus    cluster.Bus
}

// counting counts reads of the log.
type counting struct {
	*postgres.Log
	reads, rows atomic.Int64
}

func (c *counting) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	events, err := c.Log.Fetch(ctx, after, limit)
	c.reads.Add(1)
	c.rows.Add(int64(len(events)))
	return events, err
}

// TestDatabaseSeesOneReader has 1, 2 and 4 nodes read what is written while they do, with
// the relay and without: with it, as much is read as by one, however many there are.
func TestDatabaseSeesOneReader(t *testing.T) {
	t.Parallel()
	const events = 1000
	for _, nodes := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			t.Parallel()
			with, without := readBySteadily(t, nodes, events, true), readBySteadily(t, nodes, events, false)
			t.Logf("%d nodes read %d events by %+v with the relay, by %+v without", nodes, events, with, without)
			if without.rows < int64(nodes-1)*events {
				t.Errorf("without the relay %d rows were read", without.rows)
			}
			if with.rows > events || with.others > 0 {
				t.Errorf("with the relay %d rows of %d were read, %d of them by those that do not sequence", with.rows, events, with.others)
			}
		})
	}
}

type reads struct{ reads, rows, others int64 }

// leads is what of a log's lines is of interest: how often one of the nodes began to lead.
type leads struct {
	slog.Handler
	times atomic.Int64
}

func (*leads) Enabled(context.Context, slog.Level) bool { return true }

func (l *leads) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "this node leads:") {
		l.times.Add(1)
	}
	return nil
}

// readBySteadily is readBy while one node leads. It is done again where the machine was so
// busy that the server has ended the session of the one that does, for its silence.
func readBySteadily(t *testing.T, nodes int, events int64, relayed bool) reads {
	t.Helper()
	for {
		if sum, steady := readBy(t, nodes, events, relayed); steady || t.Failed() {
			return sum
		}
	}
}

// readBy has so many nodes read so many events, and returns what the database was asked for,
// apart from what rounds bring along, and whether the first led all the while.
func readBy(t *testing.T, nodes int, events int64, relayed bool) (sum reads, steady bool) {
	t.Helper()
	url := pgtest.Schema(t)
	net := clustertest.NewNet(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var all []*node
	var epoch string
	led := &leads{Handler: quiet.Handler()}
	for i := range nodes {
		log, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Migrate: true, Logger: slog.New(led)})
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		n := &node{source: &counting{Log: log}, bus: net.Join(fmt.Sprint("node", i))}
		if n.Log, err = relay.New(n.source, n.bus, relay.Patient(relay.Config{Bytes: 16 << 20, Logger: quiet})); err != nil {
			t.Fatal(err)
		}
		head, err := n.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		epoch = head.Epoch
		run := []func(context.Context) error{n.Run}
		if relayed {
			run = append(run, n.bus.Run)
		}
		for _, run := range run {
			running.Go(func() {
				if err := run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		for i == 0 && !n.source.Leads() {
			time.Sleep(time.Millisecond) // it is the first that runs: this ends
		}
		all = append(all, n)
	}
	for _, n := range all[1:] {
		for relayed && !n.State().Healthy {
			time.Sleep(time.Millisecond)
		}
	}
	var reading sync.WaitGroup
	for _, n := range all {
		reading.Go(func() {
			for after := int64(0); after < events; {
				if err := n.Wait(ctx, after); err != nil {
					t.Error(err)
					return
				}
				got, err := n.Fetch(ctx, after, store.Limit{Events: 500, Bytes: 8 << 20, Epoch: epoch})
				if err != nil {
					t.Error(err)
					return
				}
				for _, e := range got {
					if after++; e.Offset != after {
						t.Errorf("got offset %d, want %d", e.Offset, after)
						return
					}
				}
			}
		})
	}
	for written := int64(0); written < events; written += 20 {
		drafts := make([]store.Draft, 20)
		for i := range drafts {
			drafts[i] = store.Draft{Topic: "t", Name: "e", Payload: fmt.Appendf(nil, `{"n":%d}`, written+int64(i))}
		}
		if err := all[0].Append(ctx, drafts); err != nil {
			t.Fatal(err)
		}
	}
	reading.Wait()
	for i, n := range all {
		sum.reads += n.source.reads.Load()
		sum.rows += n.source.rows.Load()
		if i > 0 {
			sum.others += n.source.rows.Load()
		}
	}
	return sum, led.times.Load() == 1 && all[0].source.Leads()
}
