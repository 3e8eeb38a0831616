package pipeline

import (
	"context"
	"io"
	"testing"
)

// row is about as large as an event of a log: headers and a payload by reference.
type row struct {
	Offset  int64
	Topic   string
	Key     string
	Payload []byte
}

// source gives n rows in batches of at most size, from one prepared batch.
func benchSource(n, size int) func(context.Context, int) ([]row, error) {
	rows := make([]row, size)
	for i := range rows {
		rows[i].Offset = int64(i)
	}
	return func(_ context.Context, demand int) ([]row, error) {
		give := min(demand, size, n)
		if n -= give; n == 0 {
			return rows[:give], io.EOF
		}
		return rows[:give], nil
	}
}

// BenchmarkLine is the cost of one event through source → partition → 2 flows → sink.
func BenchmarkLine(b *testing.B) {
	for _, lanes := range []int{1, 2, 4} {
		b.Run("lanes="+string(rune('0'+lanes)), func(b *testing.B) {
			b.ReportAllocs()
			topology := NewTopology(Config{})
			producer := NewProducer(topology, ProducerConfig[row]{
				Name: "source", Demand: benchSource(b.N, 500),
				Dispatcher: PartitionBy(lanes, func(r *row) int { return int(r.Offset) % lanes }),
			})
			for lane := range lanes {
				producer.Subscribe(SubscribeOptions[row]{Partition: lane}).
					Via(Filter("live", func(r *row) bool { return r.Offset >= 0 })).
					Via(Map("offset", func(r *row) (int64, error) { return r.Offset, nil })).
					Into(Sink("sink", func(context.Context, []int64) error { return nil }))
			}
			b.ResetTimer()
			if err := topology.Run(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRoundTrip is one event down and its demand up again, with nothing else under way.
func BenchmarkRoundTrip(b *testing.B) {
	b.ReportAllocs()
	topology := NewTopology(Config{})
	NewProducer(topology, ProducerConfig[row]{Name: "source", Demand: benchSource(b.N, 1)}).
		Subscribe(SubscribeOptions[row]{MaxDemand: 1, MinDemand: -1}).
		Into(Sink("sink", func(context.Context, []row) error { return nil }))
	b.ResetTimer()
	if err := topology.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
}
