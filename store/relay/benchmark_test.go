package relay_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/relay"
)

// BenchmarkRowToNode measures a row's way from its append to the reader: of a node alone, of
// another node than the one that sequences, through the relay and from the database, and
// of the one that sequences while another node is stopped. They take turns, row by row,
// so that what else the machine does strikes all alike: the medians are to be compared, and
// the quartiles say how far they are to be trusted. The bus is one in memory.
func BenchmarkRowToNode(b *testing.B) {
	rigs := []*rig{
		newRig(b, "alone", 1, true, false),
		newRig(b, "relayed", 2, true, false),
		newRig(b, "database", 2, false, false),
		newRig(b, "sequences", 2, true, false),
		newRig(b, "one_stopped", 2, true, true),
	}
	rigs[3].reader = rigs[3].nodes[0]
	rigs[4].reader = rigs[4].nodes[0]
	took := make([][]time.Duration, len(rigs))
	for b.Loop() {
		for i, r := range rigs {
			took[i] = append(took[i], r.row(b))
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, r := range rigs {
		slices.Sort(took[i])
		n := len(took[i])
		for _, quantile := range []struct {
			name string
			at   int
		}{{"q1", n / 4}, {"median", n / 2}, {"q3", 3 * n / 4}} {
			b.ReportMetric(float64(took[i][quantile.at].Microseconds()), r.name+"_"+quantile.name+"_µs")
		}
	}
}

// rig is a cluster, and the node whose reader is timed.
type rig struct {
	name   string
	nodes  []*relay.Log
	reader *relay.Log
	epoch  string
	at     int64
}

func newRig(b *testing.B, name string, nodes int, relayed, stopped bool) *rig {
	b.Helper()
	url := pgtest.Schema(b)
	net := clustertest.NewNet(b, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	r := &rig{name: name}
	for i := range nodes {
		log, err := postgres.Open(ctx, postgres.Config{DatabaseURL: url, Migrate: true, Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		set, err := metrics.New(metrics.Config{})
		if err != nil {
			b.Fatal(err)
		}
		bus := net.Join(fmt.Sprint("node", i))
		node, err := relay.New(log, bus, relay.Config{Bytes: 16 << 20, Metrics: set, Logger: quiet})
		if err != nil {
			b.Fatal(err)
		}
		head, err := node.Head(ctx)
		if err != nil {
			b.Fatal(err)
		}
		r.epoch = head.Epoch
		running.Go(func() { _ = node.Run(ctx) })
		if relayed {
			running.Go(func() { _ = bus.Run(ctx) })
		}
		for i == 0 && !log.Leads() {
			time.Sleep(time.Millisecond)
		}
		r.nodes = append(r.nodes, node)
		b.Cleanup(func() { log.Close() })
	}
	b.Cleanup(func() { cancel(); running.Wait() })
	if stopped {
		bus, wake := net.Join("stopped"), make(chan struct{})
		end, err := bus.Subscribe("log.0", func(cluster.Message) { <-wake })
		if err != nil {
			b.Fatal(err)
		}
		running.Go(func() { _ = bus.Run(ctx) })
		b.Cleanup(func() { end(); close(wake) })
	}
	r.reader = r.nodes[nodes-1]
	for relayed && nodes > 1 && !r.reader.State().Healthy {
		time.Sleep(time.Millisecond)
	}
	return r
}

// row appends a row, and returns how long it took until it was read.
func (r *rig) row(b *testing.B) time.Duration {
	b.Helper()
	read := make(chan error, 1)
	waiting := make(chan struct{})
	go func() {
		close(waiting)
		for {
			if err := r.reader.Wait(b.Context(), r.at); err != nil {
				read <- err
				return
			}
			events, err := r.reader.Fetch(b.Context(), r.at, store.Limit{Events: 500, Bytes: 8 << 20, Epoch: r.epoch})
			if err != nil || len(events) > 0 {
				r.at += int64(len(events))
				read <- err
				return
			}
		}
	}()
	<-waiting
	time.Sleep(time.Millisecond) // until it waits, as a line does between rows
	began := time.Now()
	if err := r.nodes[0].Append(b.Context(), []store.Draft{{Topic: "t", Name: "e", Payload: []byte(`{"n":1}`)}}); err != nil {
		b.Fatal(err)
	}
	if err := <-read; err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
