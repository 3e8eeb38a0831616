package pipeline

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProducerConsumerTakesOnlyWhatIsWantedBelow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		var taken atomic.Int64
		both := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name: "double",
			Handle: func(_ context.Context, events []int) (made []int, err error) {
				taken.Add(int64(len(events)))
				for _, n := range events {
					made = append(made, 2*n-1, 2*n)
				}
				return made, nil
			},
		})
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 100, MinDemand: 90}).Into(both)
		got := &collector[int]{}
		line := both.Subscribe(SubscribeOptions[int]{Manual: true, MaxDemand: 1000}).Into(Sink("end", got.handle))
		end := started(t, topology)
		if taken.Load() != 0 {
			t.Errorf("took %d events that nobody wants", taken.Load())
		}
		line.Ask(1)
		synctest.Wait()
		if taken.Load() != 10 || len(got.all()) != 1 {
			t.Errorf("took %d events for %d", taken.Load(), len(got.all()))
		}
		line.Ask(25) // 19 are buffered
		synctest.Wait()
		if taken.Load() != 20 || len(got.all()) != 26 {
			t.Errorf("took %d events for %d", taken.Load(), len(got.all()))
		}
		// At most 100 events came from above, because those not ended below still count.
		if source.given() > 110 {
			t.Errorf("fetched %d", source.given())
		}
		line.Ask(1000)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(2*source.given()))
	})
}

func TestAcknowledgementReachesThroughProducerConsumers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var mu sync.Mutex
		done, failed := map[int]int{}, map[int]int{}
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
			Position: func(n *int) int64 { return int64(*n) },
			Ended: func(a Ack[int]) {
				mu.Lock()
				defer mu.Unlock()
				for _, n := range a.Done {
					done[n]++
				}
				for _, f := range a.Failed {
					failed[f.Event]++
				}
			},
		})
		handle := func(_ context.Context, events []int) ([]int, error) { return events, nil }
		first := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{Name: "first", Handle: handle, Dispatcher: NewBroadcast[int]()})
		second := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name: "second", Handle: handle, Dispatcher: PartitionBy(3, func(n *int) int { return *n % 4 }),
		})
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 40}).demand, Acknowledger: ack}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 7, MinDemand: 6}).Into(first)
		first.Subscribe(SubscribeOptions[int]{MaxDemand: 2}).Into(second)
		held := &collector[int]{gate: make(chan struct{})}
		first.Subscribe(SubscribeOptions[int]{MaxDemand: 3}).Into(Sink("held", held.handle))
		for lane := range 3 {
			second.Subscribe(SubscribeOptions[int]{Partition: lane, MaxDemand: 5}).
				Into(Sink("lane", func(_ context.Context, events []int) error {
					if slices.Contains(events, 9) {
						return errors.New("no nines")
					}
					return nil
				}, WithRetry(Retry{Attempts: 1})))
		}
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		synctest.Wait()
		if at, _ := ack.Safe(); at != 0 || len(done) > 0 {
			t.Errorf("%d ended, safe is %d, while one line holds on to all", len(done), at)
		}
		close(held.gate)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		for n := 1; n <= 40; n++ {
			want := n != 9 // not failed by that: what the key of second discards
			if done[n]+failed[n] != 1 || (done[n] == 1) != want {
				t.Errorf("event %d: done %d times, failed %d times", n, done[n], failed[n])
			}
		}
		if at, _ := ack.Safe(); at != 40 {
			t.Errorf("safe is %d", at)
		}
	})
}

func TestProducerConsumerLivesByItsInputs(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		mode   CancelMode
		reason error // of the first input's end
		ends   bool
	}{
		"permanent, normal": {Permanent, io.EOF, true},
		"permanent, failed": {Permanent, broken, true},
		"transient, normal": {Transient, io.EOF, false},
		"transient, failed": {Transient, broken, true},
		"temporary, normal": {Temporary, io.EOF, false},
		"temporary, failed": {Temporary, broken, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				both := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
					Name:   "both",
					Handle: func(_ context.Context, events []int) ([]int, error) { return events, nil },
				})
				NewProducer(topology, ProducerConfig[int]{
					Name: "first", Retry: Retry{Attempts: 1},
					Demand: func(ctx context.Context, _ int) ([]int, error) {
						sleep(ctx, time.Second)
						return nil, c.reason
					},
				}).Subscribe(SubscribeOptions[int]{Cancel: c.mode}).Into(both)
				NewProducer(topology, ProducerConfig[int]{
					Name: "second",
					Demand: func(ctx context.Context, _ int) ([]int, error) {
						sleep(ctx, time.Minute)
						return []int{1}, ctx.Err()
					},
				}).Subscribe(SubscribeOptions[int]{Cancel: Temporary}).Into(both)
				got := &collector[int]{}
				below := both.Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
				ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
				defer cancel()
				err := topology.Run(ctx)
				if fails := c.ends && c.reason == broken; errors.Is(err, broken) != fails {
					t.Errorf("Run: %v", err)
				}
				if lived := len(got.all()) > 0 && got.all()[0] == 1 && len(got.all()) >= 1; c.ends && below.Err() != nil && c.reason != broken {
					t.Errorf("below ended with %v, lived %v", below.Err(), lived)
				}
				if !c.ends && len(got.all()) < 1 {
					t.Error("got nothing of the second after the first had ended")
				}
			})
		})
	}
}

func TestAccumulatedProducerConsumerHoldsWhatIsAbove(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var taken atomic.Int64
		both := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name: "both", Accumulate: true,
			Handle: func(_ context.Context, events []int) ([]int, error) {
				taken.Add(int64(len(events)))
				return events, nil
			},
		})
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 10}).demand}).
			Subscribe(SubscribeOptions[int]{}).Into(both)
		got := &collector[int]{}
		both.Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		synctest.Wait()
		if taken.Load() != 0 {
			t.Error("demand went up before Forward")
		}
		both.Forward()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(10))
	})
}

func TestSuperviseRunsAsManyWorkersAsDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var now, most, all atomic.Int64
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 100}).demand}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 8, MinDemand: 7}).
			Into(Supervise("work", func(_ context.Context, n int) error {
				all.Add(1)
				if at := now.Add(1); at > most.Load() {
					most.Store(at)
				}
				time.Sleep(time.Duration(1+n%5) * time.Second) // of the test's own clock
				now.Add(-1)
				return nil
			}))
		ran(t, topology)
		if most.Load() != 8 || all.Load() != 100 {
			t.Errorf("%d workers at once, %d in all", most.Load(), all.Load())
		}
	})
}
