package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDemandThatIsNotMetIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var asked []int
		next := 0
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{
			Name: "few",
			Demand: func(ctx context.Context, n int) ([]int, error) {
				asked = append(asked, n)
				if next == 6 {
					<-ctx.Done() // nothing more: wait, until a drain
					return nil, ctx.Err()
				}
				next += 2
				return []int{next - 1, next}, nil
			},
		}).Subscribe(SubscribeOptions[int]{MaxDemand: 10, MinDemand: 2}).Into(Sink("end", got.handle))
		end := started(t, topology)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "asked", asked, []int{10, 8, 6, 4})
		equal(t, "got", got.all(), upTo(6))
	})
}

func TestHandlerErrorsAreRetriedWithBackoffAndLoseNoDemand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failed failures
		topology := NewTopology(Config{OnFailure: failed.add})
		var at []time.Duration
		begin := time.Now()
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{
			Name:  "flaky",
			Retry: Retry{Min: 10 * time.Millisecond, Max: 30 * time.Millisecond},
			Demand: func(_ context.Context, n int) ([]int, error) {
				switch at = append(at, time.Since(begin)); len(at) {
				case 1, 2, 3:
					return nil, errors.New("no connection")
				case 4:
					panic("broken")
				}
				return upTo(n), io.EOF
			},
		}).Subscribe(SubscribeOptions[int]{MaxDemand: 3}).Into(Sink("end", got.handle))
		ran(t, topology)
		ms := time.Millisecond
		equal(t, "called at", at, []time.Duration{0, 10 * ms, 30 * ms, 60 * ms, 90 * ms})
		equal(t, "got", got.all(), upTo(3))
		list := failed.list()
		if len(list) != 4 || list[0].Stage != "flaky" || list[0].Events != 0 || list[2].Attempts != 3 {
			t.Errorf("failures: %+v", list)
		}
	})
}

func TestHandlerThatNeverWorksEndsItsProducer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode  CancelMode
		fails bool
	}{
		"permanent": {Permanent, true},
		"transient": {Transient, true},
		"temporary": {Temporary, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				broken := errors.New("broken")
				topology := NewTopology(Config{})
				line := NewProducer(topology, ProducerConfig[int]{
					Name:   "broken",
					Retry:  Retry{Attempts: 2},
					Demand: func(context.Context, int) ([]int, error) { return nil, broken },
				}).Subscribe(SubscribeOptions[int]{Cancel: c.mode}).Into(Sink("end", (&collector[int]{}).handle))
				err := topology.Run(t.Context())
				if errors.Is(err, broken) != c.fails {
					t.Errorf("Run: %v", err)
				}
				if !errors.Is(line.Err(), broken) {
					t.Errorf("line: %v", line.Err())
				}
			})
		})
	}
}

func TestEventsReturnedWithAnErrorCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		calls := 0
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{
			Name: "halting",
			Demand: func(context.Context, int) ([]int, error) {
				if calls++; calls == 1 {
					return []int{1}, errors.New("then no more")
				}
				return []int{2}, io.EOF
			},
		}).Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		ran(t, topology)
		equal(t, "got", got.all(), upTo(2))
	})
}

func TestSurplusWaitsInTheBufferAndIsNotFetchedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		calls := 0
		got := &collector[int]{gate: make(chan struct{})}
		NewProducer(topology, ProducerConfig[int]{
			Name: "generous",
			Demand: func(context.Context, int) ([]int, error) {
				if calls++; calls == 1 {
					return upTo(6), nil
				}
				return nil, io.EOF
			},
		}).Subscribe(SubscribeOptions[int]{MaxDemand: 2, MinDemand: 1}).Into(Sink("end", got.handle))
		end := started(t, topology)
		for range 4 {
			got.gate <- struct{}{}
			synctest.Wait()
		}
		if calls != 1 {
			t.Errorf("handler called %d times while its surplus lasts", calls)
		}
		close(got.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(6))
	})
}

func TestIdleHandlerIsLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		calls := 0
		NewProducer(topology, ProducerConfig[int]{
			Name: "idle",
			Idle: time.Second,
			Demand: func(context.Context, int) ([]int, error) {
				if calls++; calls == 5 {
					return nil, io.EOF
				}
				return nil, nil
			},
		}).Subscribe(SubscribeOptions[int]{}).Into(Sink("end", (&collector[int]{}).handle))
		begin := time.Now()
		ran(t, topology)
		if took := time.Since(begin); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestPushedEventsWaitForDemandAndAreDiscardedAloud(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		keep      Keep
		got, gone []int
	}{
		"keep last":  {KeepLast, []int{1, 2, 5, 6, 7}, []int{3, 4}},
		"keep first": {KeepFirst, []int{1, 2, 3, 4, 5}, []int{6, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				var gone, refused []int
				ack := NewAcknowledger(topology, AcknowledgerConfig[int]{Ended: func(a Ack[int]) {
					for _, f := range a.Failed {
						if errors.Is(f.Err, ErrDiscarded) {
							refused = append(refused, f.Event)
						}
					}
				}})
				producer := NewProducer(topology, ProducerConfig[int]{
					Name: "pushed", Acknowledger: ack,
					Buffer:    Buffer{Size: 3, Keep: c.keep},
					OnDiscard: func(events []int) { gone = append(gone, events...) },
				})
				got := &collector[int]{}
				line := producer.Subscribe(SubscribeOptions[int]{Manual: true, MaxDemand: 100}).Into(Sink("end", got.handle))
				end := started(t, topology)
				line.Ask(2)
				for n := range 7 {
					if err := producer.Push(t.Context(), n+1); err != nil {
						t.Fatal(err)
					}
				}
				line.Ask(3)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				equal(t, "got", got.all(), c.got)
				equal(t, "discarded", gone, c.gone)
				equal(t, "acknowledged as discarded", refused, c.gone)
				if err := producer.Push(t.Context(), 8); !errors.Is(err, ErrEnded) {
					t.Errorf("Push after the end: %v", err)
				}
			})
		})
	}
}

func TestPushedEventsThatAreWantedNeedNoBuffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var gone []int
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "pushed", Buffer: Buffer{Size: -1}, OnDiscard: func(events []int) { gone = append(gone, events...) },
		})
		got := &collector[int]{}
		producer.Subscribe(SubscribeOptions[int]{Manual: true, MaxDemand: 100}).Into(Sink("end", got.handle)).Ask(2)
		end := started(t, topology)
		if err := producer.Push(t.Context(), 1, 2, 3); err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), []int{1, 2})
		equal(t, "discarded", gone, []int{3})
	})
}

func TestPushGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	producer := NewProducer(NewTopology(Config{}), ProducerConfig[int]{Name: "not running"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := producer.Push(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Push: %v", err)
	}
}

func TestNoticesComeAfterWhatWasBufferedBefore(t *testing.T) {
	t.Parallel()
	for name, dispatcher := range map[string]Dispatcher[int]{
		"buffer":          NewDemand[int](),
		"partition queue": PartitionBy(1, func(*int) int { return 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				producer := NewProducer(topology, ProducerConfig[int]{Name: "pushed", Dispatcher: dispatcher})
				got := &collector[int]{}
				line := producer.Subscribe(SubscribeOptions[int]{Manual: true}).Into(Sink("end", got.handle))
				end := started(t, topology)
				var noticed atomic.Bool
				check := func(when string, want bool) {
					synctest.Wait()
					if noticed.Load() != want {
						t.Errorf("%s: noticed is %v", when, !want)
					}
				}
				if err := producer.Push(t.Context(), 1, 2); err != nil {
					t.Fatal(err)
				}
				producer.Notice(func() { noticed.Store(true) })
				if err := producer.Push(t.Context(), 3); err != nil {
					t.Fatal(err)
				}
				line.Ask(1)
				check("one of two before it dispatched", false)
				line.Ask(1)
				check("both before it dispatched", true)
				noticed.Store(false)
				line.Ask(1)
				producer.Notice(func() { noticed.Store(true) })
				check("nothing buffered", true)
				if err := end(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestAccumulateHoldsNoDrainUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		got := &collector[int]{gate: make(chan struct{})}
		producer := NewProducer(topology, ProducerConfig[int]{Name: "push"})
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 1}).Into(Sink("end", got.handle))
		end := started(t, topology)
		if err := producer.Push(t.Context(), 1, 2, 3); err != nil {
			t.Fatal(err)
		}
		result := make(chan error, 1)
		go func() { result <- end() }()
		synctest.Wait() // it drains, and the first event is handled
		producer.Accumulate()
		synctest.Wait()
		close(got.gate)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(3))
	})
}

func TestAccumulateHoldsDemandUntilForward(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		producer := NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand, Accumulate: true})
		got := &collector[int]{gate: make(chan struct{})}
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 4}).Into(Sink("end", got.handle))
		end := started(t, topology)
		equal(t, "asked while accumulating", source.askedFor(), nil)
		producer.Forward()
		synctest.Wait()
		equal(t, "asked after Forward", source.askedFor(), []int{4})
		producer.Accumulate()
		synctest.Wait()
		for range 2 {
			got.gate <- struct{}{}
			synctest.Wait()
		}
		equal(t, "asked while accumulating again", source.askedFor(), []int{4})
		close(got.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStopEndsAProducerAsEOFDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		producer := NewProducer(topology, ProducerConfig[int]{Name: "pushed"})
		got := &collector[int]{}
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 1, MinDemand: -1}).Into(Sink("end", got.handle))
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		if err := producer.Push(t.Context(), upTo(5)...); err != nil {
			t.Fatal(err)
		}
		producer.Stop()
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got.all(), upTo(5))
	})
}

func TestOnePartitionThatIsSlowStopsTheFetching(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "count", Demand: source.demand,
			Dispatcher: PartitionBy(2, func(n *int) int { return *n % 2 }).WithQueue(50),
		})
		stuck, quick := &collector[int]{gate: make(chan struct{})}, &collector[int]{}
		options := SubscribeOptions[int]{MaxDemand: 100}
		producer.Subscribe(options).Into(Sink("stuck", stuck.handle))
		options.Partition = 1
		producer.Subscribe(options).Into(Sink("quick", quick.handle))
		end := started(t, topology)
		fetched := source.given()
		// The stuck lane holds its demand and its queue; the quick one got as many.
		if most := 2*(100+50) + 1; fetched > most || fetched < 2*100 {
			t.Errorf("fetched %d events, want at most %d", fetched, most)
		}
		if n := len(quick.all()); n < 100 {
			t.Errorf("the quick lane got %d events only", n)
		}
		close(stuck.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		all := append(stuck.all(), quick.all()...)
		slices.Sort(all)
		equal(t, "all", all, upTo(source.given()))
	})
}

// A connection that was lost may say EOF too. That is an error like any other,
// and no end of the source.
func TestOnlyABareEOFEndsAProducer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		calls := 0
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{
			Name: "lossy",
			Demand: func(context.Context, int) ([]int, error) {
				switch calls++; calls {
				case 1:
					return nil, fmt.Errorf("fetch: tls: %w", io.EOF)
				case 2:
					return []int{1}, nil
				}
				return nil, io.EOF
			},
		}).Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		ran(t, topology)
		equal(t, "got", got.all(), upTo(1))
	})
}

// TestWhatIsWantedMeanwhileIsTold has a handler that waits until it knows of all
// demand there is: that of both lines, of which one comes late.
func TestWhatIsWantedMeanwhileIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var asked, told []int
		enough := make(chan struct{})
		got := &collector[int]{}
		p := NewProducer(topology, ProducerConfig[int]{
			Name: "slow",
			Demand: func(_ context.Context, n int) ([]int, error) {
				asked = append(asked, n)
				<-enough
				return upTo(n), io.EOF
			},
			OnDemandGrowth: func(n int) { told = append(told, n) },
		})
		p.Subscribe(SubscribeOptions[int]{MaxDemand: 10}).Into(Sink("first", got.handle))
		end := started(t, topology)
		synctest.Wait()
		equal(t, "told at first", told, nil)
		p.Subscribe(SubscribeOptions[int]{MaxDemand: 5}).Into(Sink("second", got.handle))
		synctest.Wait()
		equal(t, "told", told, []int{15})
		close(enough)
		synctest.Wait()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "asked", asked, []int{10})
		equal(t, "told in all", told, []int{15})
	})
}
