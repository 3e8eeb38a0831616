package pipeline

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"
)

func TestCancelAndResubscribeWhileEventsFlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		got := &collector[int]{gate: make(chan struct{})}
		producer := NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand})
		line := producer.Subscribe(SubscribeOptions[int]{MaxDemand: 4, Cancel: Temporary}).
			Via(Map("same", func(n *int) (int, error) { return *n, nil })).
			Into(Sink("end", got.handle))
		end := started(t, topology)
		got.gate <- struct{}{}
		synctest.Wait()
		if err := line.Resubscribe(); err == nil {
			t.Error("subscribed twice")
		}
		line.Cancel()
		got.gate <- struct{}{} // what was delivered is worked off
		got.gate <- struct{}{}
		synctest.Wait()
		fetched := source.given()
		equal(t, "worked off", got.all(), upTo(fetched))
		if err := line.Resubscribe(); err != nil {
			t.Fatal(err)
		}
		got.gate <- struct{}{}
		synctest.Wait()
		if source.given() <= fetched {
			t.Error("nothing was fetched after resubscribing")
		}
		close(got.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(source.given()))
		if err := line.Resubscribe(); !errors.Is(err, ErrEnded) {
			t.Errorf("resubscribe after the end: %v", err)
		}
	})
}

func TestDemandOfOneThatLeavesIsNotFetchedTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		fetch := make(chan int)
		var asked []int
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "slow",
			Demand: func(ctx context.Context, n int) ([]int, error) {
				asked = append(asked, n)
				select {
				case <-fetch:
					return upTo(n), nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
		})
		leaves := producer.Subscribe(SubscribeOptions[int]{MaxDemand: 10, Cancel: Temporary}).Into(Sink("leaves", (&collector[int]{}).handle))
		end := started(t, topology)
		leaves.Cancel()
		synctest.Wait()
		fetch <- 1 // ten events that nobody wants any more
		stays := &collector[int]{gate: make(chan struct{})}
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 10}).Into(Sink("stays", stays.handle))
		synctest.Wait()
		equal(t, "asked", asked, []int{10})
		close(stays.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", stays.all(), upTo(10))
	})
}

func TestLinesJoinLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{last: 100}
		producer := NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand, Dispatcher: NewBroadcast[int]()})
		first, second := &collector[int]{}, &collector[int]{}
		slow := Sink("first", func(ctx context.Context, events []int) error {
			time.Sleep(time.Millisecond) // of the test's own clock
			return first.handle(ctx, events)
		})
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 2}).Into(slow)
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		time.Sleep(50 * time.Millisecond) // of the test's own clock
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 7}).Into(Sink("second", second.handle))
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "first", first.all(), upTo(100))
		got := second.all()
		if len(got) == 0 || got[0] == 1 {
			t.Fatalf("second got %v", got)
		}
		equal(t, "second", got, upTo(100)[got[0]-1:])
		late := producer.Subscribe(SubscribeOptions[int]{}).Into(slow)
		<-late.Done()
		if !errors.Is(late.Err(), ErrEnded) {
			t.Errorf("after the end: %v", late.Err())
		}
	})
}

func TestLateLineThatIsRefusedTroublesNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{last: 10}
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "count", Demand: source.demand, Accumulate: true,
			Dispatcher: PartitionBy(1, func(*int) int { return 0 }),
		})
		got := &collector[int]{}
		producer.Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		synctest.Wait()
		taken := producer.Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		<-taken.Done()
		if !errors.Is(taken.Err(), ErrRefused) {
			t.Errorf("second consumer of a partition: %v", taken.Err())
		}
		mistaken := producer.Subscribe(SubscribeOptions[int]{MaxDemand: -1}).Into(Sink("end", got.handle))
		<-mistaken.Done()
		if mistaken.Err() == nil {
			t.Error("negative MaxDemand was accepted")
		}
		producer.Forward()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(10))
	})
}

func TestMistakesAreReturnedByRun(t *testing.T) {
	t.Parallel()
	source := func(topology *Topology) *Producer[int] {
		return NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 1}).demand})
	}
	end := Sink("end", (&collector[int]{}).handle)
	for name, compose := range map[string]func(*Topology){
		"no name":    func(t *Topology) { NewProducer(t, ProducerConfig[int]{}) },
		"max demand": func(t *Topology) { source(t).Subscribe(SubscribeOptions[int]{MaxDemand: -1}).Into(end) },
		"min demand": func(t *Topology) { source(t).Subscribe(SubscribeOptions[int]{MaxDemand: 5, MinDemand: 5}).Into(end) },
		"wrong types": func(t *Topology) {
			source(t).Subscribe(SubscribeOptions[int]{}).Into(Sink("end", (&collector[string]{}).handle))
		},
		"wrong types in between": func(t *Topology) {
			source(t).Subscribe(SubscribeOptions[int]{}).Via(Filter("f", func(*string) bool { return true })).Into(end)
		},
		"two ends":  func(t *Topology) { source(t).Subscribe(SubscribeOptions[int]{}).Into(end).Into(end) },
		"no handle": func(t *Topology) { NewProducerConsumer(t, ProducerConsumerConfig[int, int]{Name: "both"}) },
		"commit without position": func(t *Topology) {
			NewAcknowledger(t, AcknowledgerConfig[int]{Commit: func(context.Context, int64) error { return nil }})
		},
		"one acknowledger for two": func(t *Topology) {
			ack := NewAcknowledger(t, AcknowledgerConfig[int]{})
			for range 2 {
				NewProducer(t, ProducerConfig[int]{Name: "count", Acknowledger: ack})
			}
		},
		"two consumers of a partition": func(t *Topology) {
			p := NewProducer(t, ProducerConfig[int]{Name: "p", Dispatcher: PartitionBy(1, func(*int) int { return 0 })})
			p.Subscribe(SubscribeOptions[int]{}).Into(end)
			p.Subscribe(SubscribeOptions[int]{}).Into(end)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topology := NewTopology(Config{})
			compose(topology)
			if err := topology.Run(t.Context()); err == nil {
				t.Error("Run returned nil")
			}
		})
	}
}

func TestRunRunsOnce(t *testing.T) {
	t.Parallel()
	topology := NewTopology(Config{})
	ran(t, topology)
	if err := topology.Run(t.Context()); !errors.Is(err, ErrEnded) {
		t.Errorf("second Run: %v", err)
	}
}

func TestDrainEmptiesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{
			Name: "count", Demand: source.demand, Dispatcher: PartitionBy(1, func(*int) int { return 0 }),
		}).Subscribe(SubscribeOptions[int]{MaxDemand: 20, MinDemand: 1}).
			Via(Batcher[int]{Size: 7, Timeout: time.Hour}).
			Into(Sink("slow", func(ctx context.Context, events []int) error {
				sleep(ctx, time.Millisecond)
				return got.handle(ctx, events)
			}))
		end := started(t, topology)
		time.Sleep(100 * time.Millisecond) // of the test's own clock
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(source.given()))
	})
}

func TestDrainThatTakesTooLongStopsHard(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failed failures
		topology := NewTopology(Config{DrainTimeout: time.Second, OnFailure: failed.add})
		var ended, stopped atomic.Int64
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
			Position: func(n *int) int64 { return int64(*n) },
			Ended: func(a Ack[int]) {
				ended.Add(int64(len(a.Done) + len(a.Failed)))
				stopped.Add(int64(len(a.Failed)))
			},
		})
		source := &counter{}
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand, Acknowledger: ack}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 6, MinDemand: 3}).
			Into(Sink("stuck", (&collector[int]{gate: make(chan struct{})}).handle))
		end := started(t, topology)
		begin := time.Now()
		if err := end(); !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(begin); took != time.Second {
			t.Errorf("drained for %v", took)
		}
		if int(ended.Load()) != source.given() || stopped.Load() != 6 {
			t.Errorf("%d of %d events ended, %d failed", ended.Load(), source.given(), stopped.Load())
		}
		if list := failed.list(); len(list) != 2 || !errors.Is(list[1].Err, ErrStopped) || !slices.Equal(list[1].Positions, []int64{4, 5, 6}) {
			t.Errorf("failures: %+v", list)
		}
	})
}

func TestEventsForNobodyAreReportedAtTheDrain(t *testing.T) {
	t.Parallel()
	for name, dispatcher := range map[string]func() Dispatcher[int]{
		"demand":    func() Dispatcher[int] { return NewDemand[int]() },
		"broadcast": func() Dispatcher[int] { return NewBroadcast[int]() },
		"partition": func() Dispatcher[int] { return PartitionBy(1, func(*int) int { return 0 }).WithQueue(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var failed failures
				topology := NewTopology(Config{OnFailure: failed.add})
				producer := NewProducer(topology, ProducerConfig[int]{Name: "pushed", Dispatcher: dispatcher()})
				end := started(t, topology)
				if err := producer.Push(t.Context(), 1, 2, 3); err != nil {
					t.Fatal(err)
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				events := 0
				for _, f := range failed.list() {
					if events += f.Events; !errors.Is(f.Err, ErrNoConsumer) {
						t.Errorf("failed with %v", f.Err)
					}
				}
				if events != 3 {
					t.Errorf("%d events reported, want 3", events)
				}
			})
		})
	}
}

func TestBatchesThatAFlowDropsAreReportedLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failed failures
		topology := NewTopology(Config{OnFailure: failed.add})
		var ended atomic.Int64
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{Ended: func(a Ack[int]) {
			ended.Add(int64(len(a.Done) + len(a.Failed)))
		}})
		calls := 0
		NewProducer(topology, ProducerConfig[int]{
			Name: "count", Acknowledger: ack,
			Demand: func(context.Context, int) ([]int, error) {
				if calls++; calls == 3 {
					return []int{3}, io.EOF
				}
				return []int{calls}, nil
			},
		}).Subscribe(SubscribeOptions[int]{}).
			Via(FlowOf(func() streams.Flow {
				return flow.NewFilter(func(b *Batch[int]) bool { return b.Events[0] != 2 }, 1) // tells nobody
			})).
			Into(Sink("end", (&collector[int]{}).handle))
		ran(t, topology)
		if ended.Load() != 3 {
			t.Errorf("%d of 3 events ended", ended.Load())
		}
		if list := failed.list(); len(list) != 1 || !errors.Is(list[0].Err, ErrLost) || list[0].Events != 1 {
			t.Errorf("failures: %+v", list)
		}
	})
}
