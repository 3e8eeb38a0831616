package pipeline

import (
	"context"
	"io"
	"testing"

	"github.com/reugn/go-streams/extension"
	"github.com/reugn/go-streams/flow"

	"github.com/sluicehq/sluice/pipeline"
)

const batchSize = 500

// row is about as large as an event of a log: headers, and a payload by reference.
type row struct {
	Offset  int64
	Topic   string
	Key     string
	Payload []byte
}

func live(r *row) bool { return r.Offset > 0 }

// rows is one batch, which every source gives again and again.
func rows() []row {
	list := make([]row, batchSize)
	for i := range list {
		list[i].Offset = 1
	}
	return list
}

func check(b *testing.B, sum int64) {
	b.Helper()
	if sum != int64(b.N) {
		b.Fatalf("%d of %d events arrived", sum, b.N)
	}
}

// BenchmarkEventByEvent sends single events.
func BenchmarkEventByEvent(b *testing.B) {
	b.Run("chan", func(b *testing.B) {
		b.ReportAllocs()
		source := rows()
		filtered, mapped, offsets := make(chan row), make(chan row), make(chan int64)
		go func() {
			defer close(filtered)
			for i := range b.N {
				filtered <- source[i%batchSize]
			}
		}()
		go func() {
			defer close(mapped)
			for r := range filtered {
				if live(&r) {
					mapped <- r
				}
			}
		}()
		go func() {
			defer close(offsets)
			for r := range mapped {
				offsets <- r.Offset
			}
		}()
		var sum int64
		for offset := range offsets {
			sum += offset
		}
		check(b, sum)
	})
	b.Run("go-streams", func(b *testing.B) {
		b.ReportAllocs()
		source := rows()
		in := make(chan any)
		go func() {
			defer close(in)
			for i := range b.N {
				in <- source[i%batchSize]
			}
		}()
		out := extension.NewChanSource(in).
			Via(flow.NewFilter(func(r row) bool { return live(&r) }, 1)).
			Via(flow.NewMap(func(r row) int64 { return r.Offset }, 1))
		var sum int64
		for offset := range out.Out() {
			sum += offset.(int64)
		}
		check(b, sum)
	})
	b.Run("pipeline", func(b *testing.B) { throughPipeline(b, 1, 1) })
}

// BenchmarkBatches sends 500 events at a time.
func BenchmarkBatches(b *testing.B) {
	keep := func(events []row) []row {
		for i := range events {
			if !live(&events[i]) {
				return nil
			}
		}
		return events
	}
	offsetsOf := func(events []row) []int64 {
		made := make([]int64, len(events))
		for i := range events {
			made[i] = events[i].Offset
		}
		return made
	}
	b.Run("chan", func(b *testing.B) {
		b.ReportAllocs()
		filtered, mapped, offsets := make(chan []row), make(chan []row), make(chan []int64)
		go func() {
			defer close(filtered)
			source := rows()
			for left := b.N; left > 0; left -= batchSize {
				filtered <- source[:min(left, batchSize)]
			}
		}()
		go func() {
			defer close(mapped)
			for events := range filtered {
				mapped <- keep(events)
			}
		}()
		go func() {
			defer close(offsets)
			for events := range mapped {
				offsets <- offsetsOf(events)
			}
		}()
		var sum int64
		for made := range offsets {
			sum += total(made)
		}
		check(b, sum)
	})
	b.Run("go-streams", func(b *testing.B) {
		b.ReportAllocs()
		in := make(chan any)
		go func() {
			defer close(in)
			source := rows()
			for left := b.N; left > 0; left -= batchSize {
				in <- source[:min(left, batchSize)]
			}
		}()
		out := extension.NewChanSource(in).
			Via(flow.NewMap(keep, 1)).
			Via(flow.NewMap(offsetsOf, 1))
		var sum int64
		for made := range out.Out() {
			sum += total(made.([]int64))
		}
		check(b, sum)
	})
	b.Run("pipeline", func(b *testing.B) { throughPipeline(b, batchSize, 1) })
	b.Run("pipeline, 2 partitions", func(b *testing.B) { throughPipeline(b, batchSize, 2) })
}

func total(offsets []int64) (sum int64) {
	for _, offset := range offsets {
		sum += offset
	}
	return sum
}

func throughPipeline(b *testing.B, size, lanes int) {
	b.ReportAllocs()
	source, left := rows(), b.N
	topology := pipeline.NewTopology(pipeline.Config{})
	next := 0
	producer := pipeline.NewProducer(topology, pipeline.ProducerConfig[row]{
		Name: "source",
		Demand: func(_ context.Context, demand int) ([]row, error) {
			n := min(demand, size, left)
			if left -= n; left == 0 {
				return source[:n], io.EOF
			}
			return source[:n], nil
		},
		Dispatcher: pipeline.PartitionBy(lanes, func(*row) int { next++; return next % lanes }),
	})
	sums := make([]int64, lanes)
	for lane := range lanes {
		producer.Subscribe(pipeline.SubscribeOptions[row]{Partition: lane}).
			Via(pipeline.Filter("live", live)).
			Via(pipeline.Map("offset", func(r *row) (int64, error) { return r.Offset, nil })).
			Into(pipeline.Sink("sum", func(_ context.Context, offsets []int64) error {
				sums[lane] += total(offsets)
				return nil
			}))
	}
	if err := topology.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	check(b, total(sums))
}
