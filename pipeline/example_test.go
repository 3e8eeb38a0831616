package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pipeline"
)

// count is a demand handler that gives 1 to last, and never more than it is asked for.
func count(last int) func(context.Context, int) ([]int, error) {
	next := 0
	return func(_ context.Context, demand int) ([]int, error) {
		var events []int
		for ; demand > 0; demand-- {
			if next == last {
				return events, io.EOF
			}
			next++
			events = append(events, next)
		}
		return events, nil
	}
}

// show is a sink that prints.
func show[T any](_ context.Context, events []T) error {
	fmt.Println(events)
	return nil
}

func run(topology *pipeline.Topology) {
	if err := topology.Run(context.Background()); err != nil {
		fmt.Println("run:", err)
	}
}

func Example() {
	topology := pipeline.NewTopology(pipeline.Config{})
	pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{Name: "count", Demand: count(10)}).
		Subscribe(pipeline.SubscribeOptions[int]{MaxDemand: 4, MinDemand: 2}).
		Via(pipeline.Filter("odd", func(n *int) bool { return *n%2 == 1 })).
		Via(pipeline.Map("text", func(n *int) (string, error) { return strings.Repeat("*", *n), nil })).
		Into(pipeline.Sink("show", show[string]))
	run(topology)
	// Output:
	// [*]
	// [***]
	// [*****]
	// [*******]
	// [*********]
}

// A line asks for MaxDemand, then again each time that what it has under way has fallen to MinDemand.
func ExampleProducer() {
	topology := pipeline.NewTopology(pipeline.Config{})
	fetch := count(8)
	pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{
		Name: "fetch",
		Demand: func(ctx context.Context, demand int) ([]int, error) {
			fmt.Println("asked for", demand)
			return fetch(ctx, demand)
		},
	}).
		Subscribe(pipeline.SubscribeOptions[int]{MaxDemand: 4, MinDemand: -1}).
		Into(pipeline.Sink("show", show[int]))
	run(topology)
	// Output:
	// asked for 4
	// [1 2 3 4]
	// asked for 4
	// [5 6 7 8]
	// asked for 4
}

// What happens outside is pushed. It waits in the buffer until it is asked for.
func ExampleProducer_Push() {
	topology := pipeline.NewTopology(pipeline.Config{})
	ticks := pipeline.NewProducer(topology, pipeline.ProducerConfig[string]{
		Name:      "ticks",
		Buffer:    pipeline.Buffer{Size: 2, Keep: pipeline.KeepLast},
		OnDiscard: func(old []string) { fmt.Println("no room for", old) },
	})
	line := ticks.Subscribe(pipeline.SubscribeOptions[string]{Manual: true}).
		Into(pipeline.Sink("show", show[string]))
	go func() {
		_ = ticks.Push(context.Background(), "one", "two", "three")
		ticks.Notice(func() { fmt.Println("all gone") })
		line.Ask(2)
		ticks.Stop()
	}()
	run(topology)
	// Unordered output:
	// no room for [one]
	// all gone
	// [two three]
}

// Nothing moves before Forward: lines can be added first.
func ExampleProducer_Forward() {
	topology := pipeline.NewTopology(pipeline.Config{})
	numbers := pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{
		Name: "count", Demand: count(3), Accumulate: true, Dispatcher: pipeline.NewBroadcast[int](),
	})
	done := make(chan struct{})
	go func() {
		run(topology)
		close(done)
	}()
	for range 2 {
		numbers.Subscribe(pipeline.SubscribeOptions[int]{}).Into(pipeline.Sink("show", show[int]))
	}
	numbers.Forward()
	<-done
	// Output:
	// [1 2 3]
	// [1 2 3]
}

// A dispatcher is a plain value, which can be tried without a producer.
func ExampleNewDemand() {
	d := pipeline.NewDemand[string]()
	for id := range pipeline.ID(2) {
		_ = d.Subscribe(id, pipeline.Subscriber[string]{})
	}
	d.Ask(0, 1)
	d.Ask(1, 2)
	fmt.Println("wanted:", d.Want())
	dispatched := d.Dispatch(pipeline.Events[string]{Items: []string{"a", "b", "c", "d"}})
	for _, delivery := range dispatched.Deliveries {
		fmt.Println("for", delivery.To, delivery.Items)
	}
	fmt.Println("rest:", dispatched.Rest)
	// Output:
	// wanted: 3
	// for 1 [a b]
	// for 0 [c]
	// rest: [d]
}

func ExampleNewBroadcast() {
	topology := pipeline.NewTopology(pipeline.Config{})
	numbers := pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{
		Name: "count", Demand: count(6), Dispatcher: pipeline.NewBroadcast[int](),
	})
	for _, divisor := range []int{2, 3} {
		numbers.Subscribe(pipeline.SubscribeOptions[int]{
			Selector: func(n *int) bool { return *n%divisor == 0 },
		}).Into(pipeline.Sink("show", func(_ context.Context, events []int) error {
			fmt.Println("by", divisor, events)
			return nil
		}))
	}
	run(topology)
	// Unordered output:
	// by 2 [2 4 6]
	// by 3 [3 6]
}

func ExamplePartitionBy() {
	topology := pipeline.NewTopology(pipeline.Config{})
	numbers := pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{
		Name: "count", Demand: count(7),
		Dispatcher: pipeline.PartitionBy(2, func(n *int) int {
			if *n == 4 {
				return pipeline.Discard
			}
			return *n % 2
		}),
		OnDiscard: func(events []int) { fmt.Println("discarded", events) },
	})
	for lane := range 2 {
		numbers.Subscribe(pipeline.SubscribeOptions[int]{Partition: lane}).
			Into(pipeline.Sink("show", show[int]))
	}
	run(topology)
	// Unordered output:
	// discarded [4]
	// [2 6]
	// [1 3 5 7]
}

func ExampleLine_Ask() {
	topology := pipeline.NewTopology(pipeline.Config{})
	asked := make(chan struct{})
	line := pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{Name: "count", Demand: count(3)}).
		Subscribe(pipeline.SubscribeOptions[int]{Manual: true}).
		Into(pipeline.Sink("show", func(ctx context.Context, events []int) error {
			defer close(asked)
			return show(ctx, events)
		}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		line.Ask(2)
		<-asked
		cancel()
	}()
	if err := topology.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: [1 2]
}

// A line goes, and comes back, while the topology runs.
func ExampleLine_Resubscribe() {
	topology := pipeline.NewTopology(pipeline.Config{})
	letters := pipeline.NewProducer(topology, pipeline.ProducerConfig[string]{Name: "letters"})
	shown := make(chan struct{})
	line := letters.Subscribe(pipeline.SubscribeOptions[string]{Cancel: pipeline.Permanent}).
		Into(pipeline.Sink("show", func(ctx context.Context, events []string) error {
			defer func() { shown <- struct{}{} }()
			return show(ctx, events)
		}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_ = letters.Push(ctx, "a")
		<-shown
		line.Cancel()
		<-line.Done()
		_ = letters.Push(ctx, "b") // waits in the buffer
		_ = line.Resubscribe()
		<-shown
	}()
	if err := topology.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// [a]
	// [b]
}

func ExampleAcknowledger() {
	topology := pipeline.NewTopology(pipeline.Config{
		Retry:     pipeline.Retry{Attempts: 1},
		OnFailure: func(f pipeline.Failure) { fmt.Printf("stage %s gave up %v: %v\n", f.Stage, f.Positions, f.Err) },
	})
	ack := pipeline.NewAcknowledger(topology, pipeline.AcknowledgerConfig[int]{
		Position: func(n *int) int64 { return int64(*n) * 100 },
		Ended:    func(a pipeline.Ack[int]) { fmt.Println(a.Source, "done", a.Done, "failed", len(a.Failed)) },
		Every:    time.Hour, // and when all is drained
		Commit: func(_ context.Context, position int64) error {
			fmt.Println("commit", position)
			return nil
		},
	})
	pipeline.NewProducer(topology, pipeline.ProducerConfig[int]{Name: "count", Demand: count(5), Acknowledger: ack}).
		Subscribe(pipeline.SubscribeOptions[int]{}).
		Into(pipeline.Sink("work", func(_ context.Context, events []int) error {
			for _, n := range events {
				if n == 3 {
					return errors.New("cannot do 3")
				}
			}
			return nil
		}))
	run(topology)
	// Output:
	// stage work gave up [300]: cannot do 3
	// count done [1 2 4 5] failed 1
	// commit 500
}

func ExampleProducerConsumer() {
	topology := pipeline.NewTopology(pipeline.Config{})
	words := pipeline.NewProducerConsumer(topology, pipeline.ProducerConsumerConfig[string, string]{
		Name: "split",
		Handle: func(_ context.Context, lines []string) (made []string, err error) {
			for _, line := range lines {
				made = append(made, strings.Fields(line)...)
			}
			return made, nil
		},
		Dispatcher: pipeline.PartitionBy(2, func(word *string) int { return len(*word) % 2 }),
	})
	lines := []string{"the quick brown fox", "jumps over it all"}
	pipeline.NewProducer(topology, pipeline.ProducerConfig[string]{
		Name:   "lines",
		Demand: func(context.Context, int) ([]string, error) { return lines, io.EOF },
	}).Subscribe(pipeline.SubscribeOptions[string]{}).Into(words)
	for parity := range 2 {
		words.Subscribe(pipeline.SubscribeOptions[string]{Partition: parity}).
			Into(pipeline.Sink("show", show[string]))
	}
	run(topology)
	// Unordered output:
	// [over it]
	// [the quick brown fox jumps all]
}
