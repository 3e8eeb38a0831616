package pipeline

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams"
	"github.com/reugn/go-streams/flow"
)

// mischief is what a user's function does that stands at one place.
type mischief struct {
	place string
	do    func()
	once  bool
	calls atomic.Int64
}

func (m *mischief) at(place string) {
	if place == m.place && (m.calls.Add(1) == 1 || !m.once) {
		m.do()
	}
}

// Every function that this package is given, by where it is called.
var (
	// handlers fail events, or their producer's attempts, and all goes on.
	handlers = []string{"demand", "map", "filter", "flatmap", "transform", "consumer", "key", "sink", "supervise"}
	// hooks and factories are told to OnFailure.
	hooks = []string{"ended", "counted", "position", "commit", "discard", "growth", "notice", "observer", "recorder", "failure"}
	// lookers are called where a producer deals events; without them it cannot go on.
	lookers   = []string{"selector", "partition"}
	factories = []string{"flow", "streamsink", "tail"}
)

// TestRunReturnsWhateverUsersFunctionsDo: a panic, and an end of the goroutine, of any
// function, once and always: the process lives, Run returns, no event ends in silence, and no
// position is safe beyond one that nobody handled.
func TestRunReturnsWhateverUsersFunctionsDo(t *testing.T) {
	t.Parallel()
	ways := map[string]func(){
		"panics": func() { panic("mischief") },
		"exits":  runtime.Goexit,
	}
	for _, place := range slices.Concat(handlers, hooks, lookers, factories) {
		for way, do := range ways {
			for _, once := range []bool{true, false} {
				name := place + " " + way
				if once {
					name += " once"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { misbehave(t, &mischief{place: place, do: do, once: once}) })
				})
			}
		}
	}
}

func misbehave(t *testing.T, m *mischief) {
	const n = 50
	var mu sync.Mutex
	ends, handled, told := map[int]int{}, map[int]int{}, 0
	undone := n + 1
	topology := NewTopology(Config{
		DrainTimeout: time.Minute,
		Retry:        Retry{Attempts: 3, Min: time.Millisecond},
		Observer:     mischievous{m},
		OnFailure: func(f Failure) {
			m.at("failure")
			mu.Lock()
			defer mu.Unlock()
			told++
		},
	})
	ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
		Every: time.Millisecond,
		Position: func(n *int) int64 {
			m.at("position")
			return int64(*n)
		},
		Commit:  func(context.Context, int64) error { m.at("commit"); return nil },
		Counted: func(int, int) { m.at("counted") },
		Ended: func(a Ack[int]) {
			mu.Lock()
			defer mu.Unlock()
			for _, n := range a.Done {
				ends[n]++
			}
			for _, f := range a.Failed {
				ends[f.Event]++
				if abandoned(f.Err) {
					undone = min(undone, f.Event)
				}
			}
			m.at("ended")
		},
	})
	var dispatcher Dispatcher[int] = NewBroadcast[int]()
	owed := 4
	if m.place == "partition" {
		owed = 1
		dispatcher = PartitionBy(4, func(n *int) int { m.at("partition"); return *n % 4 })
	}
	count := &counter{last: n}
	root := NewProducer(topology, ProducerConfig[int]{
		Name: "root", Acknowledger: ack, Dispatcher: dispatcher, Retry: Retry{Attempts: 5, Min: time.Millisecond},
		Demand: func(ctx context.Context, demand int) ([]int, error) {
			m.at("demand")
			time.Sleep(time.Millisecond) // of the test's own clock: it takes a while
			return count.demand(ctx, min(demand, 7))
		},
		OnDemandGrowth: func(int) { m.at("growth") },
	})
	handle := func(place string) func(_ context.Context, events []int) error {
		return func(_ context.Context, events []int) error {
			m.at(place)
			mu.Lock()
			defer mu.Unlock()
			for _, n := range events {
				handled[n]++
			}
			return nil
		}
	}
	terms := func(lane int) SubscribeOptions[int] {
		o := SubscribeOptions[int]{MaxDemand: 10, Partition: lane}
		if lane == 0 {
			o.Selector = func(*int) bool { m.at("selector"); return true }
		}
		return o
	}
	middle := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
		Name:   "middle",
		Handle: func(_ context.Context, events []int) ([]int, error) { m.at("consumer"); return events, nil },
	})
	root.Subscribe(terms(0)).
		Via(Map("map", func(n *int) (int, error) { m.at("map"); return *n, nil })).
		Via(Filter("filter", func(n *int) bool { m.at("filter"); return *n%2 == 0 })).
		Via(FlatMap("flatmap", func(n *int) ([]int, error) { m.at("flatmap"); return []int{*n, *n}, nil })).
		Via(Transform("transform", func(_ context.Context, events []int) ([]int, error) { m.at("transform"); return events, nil })).
		Into(middle)
	middle.Subscribe(SubscribeOptions[int]{MaxDemand: 10}).
		Via(Batcher[int]{}).
		Via(KeyBatcher[int, int]{Key: func(n *int) int { m.at("key"); return *n % 3 }}).
		Via(Limit[int]("limit", NewLimiter(5, time.Millisecond))).
		Into(Sink("sink", handle("sink")))
	root.Subscribe(terms(1)).Into(Supervise("supervise", func(ctx context.Context, n int) error {
		if m.place == "failure" && n == 7 {
			return errPoison
		}
		return handle("supervise")(ctx, []int{n})
	}))
	root.Subscribe(terms(2)).
		Via(FlowOf(func() streams.Flow { m.at("flow"); return flow.NewPassThrough() })).
		Into(SinkOf(func() streams.Sink { m.at("streamsink"); return newFinisher() }))
	root.Subscribe(terms(3)).Into(Tail(func(s streams.Source) {
		m.at("tail")
		s.Via(flow.NewPassThrough()).To(newFinisher())
	}))
	pushed := NewProducer(topology, ProducerConfig[int]{
		Name: "pushed", Buffer: Buffer{Size: 3}, OnDiscard: func([]int) { m.at("discard") },
	})
	byHand := pushed.Subscribe(SubscribeOptions[int]{Manual: true, Cancel: Temporary}).Into(Sink("end", func(context.Context, []int) error { return nil }))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	result := make(chan error, 1)
	go func() {
		var err error
		returned := false
		defer func() {
			if !returned {
				err = errors.New("Run ended its caller")
			}
			result <- err
		}()
		err = topology.Run(ctx)
		returned = true
	}()
	_ = pushed.Push(ctx, 1, 2, 3, 4, 5)
	pushed.Notice(func() { m.at("notice") })
	byHand.Ask(5)
	time.Sleep(time.Second) // of the test's own clock
	stop()
	err := <-result
	if m.calls.Load() == 0 {
		t.Fatal("it was never called")
	}
	mu.Lock()
	defer mu.Unlock()
	broken := !slices.Contains(slices.Concat(handlers, hooks), m.place)
	if err != nil && !broken && m.place != "failure" && m.place != "demand" && !errors.Is(err, ErrExited) {
		t.Errorf("Run: %v", err)
	}
	if err == nil && m.place != "ended" && !broken {
		for i := 1; i <= count.given(); i++ {
			if ends[i] != owed {
				t.Errorf("event %d was owed %d times and ended %d times", i, owed, ends[i])
			}
		}
	}
	if told == 0 && err == nil && (!m.once || !slices.Contains(handlers, m.place)) {
		t.Error("nobody was told")
	}
	if m.once && slices.Contains(handlers, m.place) && m.place != "map" && m.place != "filter" && m.place != "flatmap" && m.place != "key" {
		for i := 2; i <= n; i += 2 {
			if handled[i] == 0 && err == nil {
				t.Errorf("event %d was not handled, after one failure", i)
			}
		}
	}
	if at, ok := ack.Safe(); ok && at >= int64(undone) {
		t.Errorf("safe to commit %d, and %d was given up undone", at, undone)
	}
}

// mischievous is an observer.
type mischievous struct{ m *mischief }

func (o mischievous) Stage(string) Recorder { o.m.at("observer"); return o }
func (o mischievous) Record(Report)         { o.m.at("recorder") }

// finisher is a streams.Sink that finishes what it gets.
type finisher struct {
	in   chan any
	done chan struct{}
}

func newFinisher() *finisher {
	f := &finisher{make(chan any), make(chan struct{})}
	go func() {
		defer close(f.done)
		for b := range f.in {
			b.(*Batch[int]).Finish()
		}
	}()
	return f
}

func (f *finisher) In() chan<- any   { return f.in }
func (f *finisher) AwaitCompletion() { <-f.done }

// TestWhatADrainGivesUpIsNotCommitted: however an event is given up because the pipeline
// stops, the position stays below it.
func TestWhatADrainGivesUpIsNotCommitted(t *testing.T) {
	t.Parallel()
	const n, through = 50, 8
	stuck := func(ctx context.Context, i int) error {
		if i <= through {
			return nil
		}
		<-ctx.Done()
		return ctx.Err() // as any handler does
	}
	each := func(ctx context.Context, events []int) error {
		for _, i := range events {
			if err := stuck(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	for name, build := range map[string]func(*Topology, *Line, *int){
		"sink":      func(_ *Topology, l *Line, _ *int) { l.Into(Sink("end", each)) },
		"supervise": func(_ *Topology, l *Line, _ *int) { l.Into(Supervise("end", stuck)) },
		"named one by one": func(_ *Topology, l *Line, _ *int) {
			l.Into(Sink("end", func(ctx context.Context, events []int) error {
				failed := EventErrors{}
				for i, n := range events {
					if err := stuck(ctx, n); err != nil {
						failed[i] = err
					}
				}
				return failed
			}))
		},
		"transform": func(_ *Topology, l *Line, _ *int) {
			l.Via(Transform("t", func(ctx context.Context, events []int) ([]int, error) { return events, each(ctx, events) })).
				Into(Sink("end", func(context.Context, []int) error { return nil }))
		},
		"beside what fails by itself": func(_ *Topology, l *Line, _ *int) {
			l.Via(FlatMap("twice", func(n *int) ([]int, error) { return []int{-*n, *n}, nil })).
				Into(Supervise("end", func(ctx context.Context, n int) error {
					if n < 0 && -n > through {
						return errPoison
					}
					return stuck(ctx, n)
				}))
		},
		"limit": func(_ *Topology, l *Line, _ *int) {
			l.Via(Limit[int]("limit", NewLimiter(through, time.Hour))).Into(Sink("end", each))
		},
		"lost in a flow": func(_ *Topology, l *Line, _ *int) {
			l.Via(FlowOf(func() streams.Flow {
				return flow.NewFilter(func(b *Batch[int]) bool { return b.Events[0] <= through }, 1)
			})).Into(Sink("end", each))
		},
		"consumer": func(topology *Topology, l *Line, _ *int) {
			pc := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
				Name: "middle", Handle: func(_ context.Context, events []int) ([]int, error) { return events, nil },
			})
			l.Into(pc)
			pc.Subscribe(SubscribeOptions[int]{MaxDemand: 1}).Into(Sink("end", each))
		},
		"no consumer": func(_ *Topology, l *Line, handled *int) {
			l.Into(Sink("end", func(ctx context.Context, events []int) error {
				if *handled = events[0]; *handled == through {
					l.Cancel() // what has been delivered is worked off
				}
				return nil
			}))
		},
	} {
		for _, mode := range []CancelMode{Permanent, Temporary} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					topology := NewTopology(Config{DrainTimeout: time.Second, Retry: Retry{Attempts: 1}})
					var committed int64
					producer := NewProducer(topology, ProducerConfig[int]{
						Name: "count",
						Demand: func(ctx context.Context, demand int) ([]int, error) {
							return nil, io.EOF
						},
						Accumulate: true,
						Acknowledger: NewAcknowledger(topology, AcknowledgerConfig[int]{
							Position: position,
							Commit:   func(_ context.Context, at int64) error { committed = at; return nil },
						}),
					})
					handled := through
					build(topology, producer.Subscribe(SubscribeOptions[int]{MaxDemand: 10, MinDemand: 9, Cancel: mode}), &handled)
					ctx, stop := context.WithCancel(t.Context())
					result := make(chan error, 1)
					go func() { result <- topology.Run(ctx) }()
					if err := producer.Push(ctx, upTo(n)...); err != nil {
						t.Fatal(err)
					}
					producer.Forward()
					time.Sleep(time.Millisecond) // of the test's own clock
					stop()
					if err := <-result; err != nil && !errors.Is(err, ErrDrainTimeout) {
						t.Error(err)
					}
					if committed != int64(handled) {
						t.Errorf("committed %d, handled up to %d", committed, handled)
					}
				})
			})
		}
	}
}

// TestSetALimitAgain: setting a limit, to the same or another one, lets no more through
// than it says.
func TestSetALimitAgain(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(l *Limiter, i int){
		"the same":       func(l *Limiter, _ int) { l.Set(100, time.Second) },
		"back and forth": func(l *Limiter, i int) { l.Set(100-i%2, time.Second) },
		"longer":         func(l *Limiter, i int) { l.Set(100, time.Second+time.Duration(i%2)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				limiter := NewLimiter(100, time.Second)
				through := 0
				NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{}).demand}).
					Subscribe(SubscribeOptions[int]{}).Via(Limit[int]("limit", limiter)).
					Into(Sink("end", func(_ context.Context, events []int) error { through += len(events); return nil }))
				ctx, stop := context.WithTimeout(t.Context(), 2*time.Second+time.Second/2)
				defer stop()
				go func() {
					for i := 0; sleep(ctx, 20*time.Millisecond); i++ {
						set(limiter, i)
					}
				}()
				result := make(chan error, 1)
				run, halt := context.WithCancel(t.Context())
				go func() { result <- topology.Run(run) }()
				<-ctx.Done()
				synctest.Wait()
				if through > 300 || through < 290 {
					t.Errorf("%d events in 2.5 s at 100 a second", through)
				}
				halt()
				limiter.Set(0, 0)
				if err := <-result; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
