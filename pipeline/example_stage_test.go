package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pipeline"
)

// through runs 1 to last through a line that build completes.
func through(last int, config pipeline.Config, build func(*pipeline.Line)) {
	topology := pipeline.NewTopology(config)
	build(pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{Name: "count", Demand: count(last)}).
		Subscribe(pipeline.SubscribeOptions[int]{MaxDemand: 8, MinDemand: 4}))
	run(topology)
}

func ExampleMap() {
	through(3, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.Map("halve", func(n *int) (float64, error) { return float64(*n) / 2, nil })).
			Into(pipeline.Sink("show", show[float64]))
	})
	// Output: [0.5 1 1.5]
}

func ExampleFilter() {
	through(4, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.Filter("even", func(n *int) bool { return *n%2 == 0 })).
			Into(pipeline.Sink("show", show[int]))
	})
	// Output: [2 4]
}

func ExampleFlatMap() {
	through(3, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.FlatMap("repeat", func(n *int) ([]int, error) {
			var made []int
			for range *n {
				made = append(made, *n)
			}
			return made, nil
		})).Into(pipeline.Sink("show", show[int]))
	})
	// Output: [1 2 2 3 3 3]
}

// The sum stands for all the events that it was made of: they end when it does.
func ExampleTransform() {
	through(4, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.Transform("sum", func(_ context.Context, events []int) ([]int, error) {
			sum := 0
			for _, n := range events {
				sum += n
			}
			return []int{sum}, nil
		})).Into(pipeline.Sink("show", show[int]))
	})
	// Output: [10]
}

func ExampleBatcher() {
	through(7, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.Batcher[int]{Size: 3, Timeout: time.Minute}).
			Into(pipeline.Sink("show", show[int]))
	})
	// Output:
	// [1 2 3]
	// [4 5 6]
	// [7]
}

func ExampleKeyBatcher() {
	through(5, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.KeyBatcher[int, bool]{Key: func(n *int) bool { return *n%2 == 0 }, Timeout: time.Minute}).
			Into(pipeline.Sink("show", show[int]))
	})
	// Unordered output:
	// [1 3 5]
	// [2 4]
}

func ExampleLimit() {
	limiter := pipeline.NewLimiter(2, time.Hour)
	through(4, pipeline.Config{}, func(line *pipeline.Line) {
		line.Via(pipeline.Limit[int]("limit", limiter)).
			Into(pipeline.Sink("show", func(ctx context.Context, events []int) error {
				limiter.Set(0, 0) // changes while it runs: no limit any more
				return show(ctx, events)
			}))
	})
	// Output:
	// [1 2]
	// [3 4]
}

func ExampleSupervise() {
	var sum atomic.Int64
	through(100, pipeline.Config{}, func(line *pipeline.Line) {
		line.Into(pipeline.Supervise("add", func(_ context.Context, n int) error {
			sum.Add(int64(n)) // a goroutine for each event, at most MaxDemand of them
			return nil
		}))
	})
	fmt.Println(sum.Load())
	// Output: 5050
}

// A handler that knows which events are bad fails those alone.
func ExampleEventErrors() {
	config := pipeline.Config{OnFailure: func(f pipeline.Failure) { fmt.Println(f.Stage, "failed:", f.Err) }}
	through(4, config, func(line *pipeline.Line) {
		line.Via(pipeline.Transform("check", func(_ context.Context, events []int) ([]int, error) {
			bad := pipeline.EventErrors{}
			var good []int
			for i, n := range events {
				if n == 3 {
					bad[i] = errors.New("three")
					continue
				}
				good = append(good, n)
			}
			if len(bad) == 0 {
				return good, nil
			}
			return good, bad
		})).Into(pipeline.Sink("show", show[int]))
	})
	// Output:
	// check failed: three
	// [1 2 4]
}

func ExampleWithRetry() {
	tries := 0
	through(2, pipeline.Config{}, func(line *pipeline.Line) {
		line.Into(pipeline.Sink("write", func(ctx context.Context, events []int) error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return show(ctx, events)
		}, pipeline.WithRetry(pipeline.Retry{Attempts: 5, Min: time.Millisecond})))
	})
	fmt.Println(tries, "tries")
	// Output:
	// [1 2]
	// 3 tries
}

// gauge is an Observer that prints what each stage passed on.
type gauge struct{ out map[string]*atomic.Int64 }

func (g gauge) Stage(name string) pipeline.Recorder {
	g.out[name] = new(atomic.Int64)
	return recorder{g.out[name]}
}

type recorder struct{ out *atomic.Int64 }

func (r recorder) Record(report pipeline.Report) { r.out.Add(int64(report.Out)) }

func ExampleObserver() {
	g := gauge{map[string]*atomic.Int64{}}
	through(10, pipeline.Config{Observer: g}, func(line *pipeline.Line) {
		line.Via(pipeline.Filter("even", func(n *int) bool { return *n%2 == 0 })).
			Into(pipeline.Sink("end", func(context.Context, []int) error { return nil }))
	})
	fmt.Println(g.out["count"].Load(), g.out["even"].Load(), g.out["end"].Load())
	// Output: 10 5 5
}

// A producer that cannot get over its errors ends, and so does the topology, unless
// its lines are Temporary.
func ExampleRetry() {
	topology := pipeline.NewTopology(pipeline.Config{})
	pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{
		Name:   "fetch",
		Demand: func(context.Context, int) ([]int, error) { return nil, io.ErrUnexpectedEOF },
		Retry:  pipeline.Retry{Attempts: 3, Min: time.Microsecond},
	}).Subscribe(pipeline.SubscribeOptions[int]{}).Into(pipeline.Sink("show", show[int]))
	run(topology)
	// Output: run: producer "fetch": unexpected EOF
}
