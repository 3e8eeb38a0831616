package pipeline

import (
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reugn/go-streams"
)

// TestAHookThatEndsItsGoroutineIsTold: whichever event's end it is told of, the last of all
// included, and whosever goroutine it ends: ours, or that of a sink or flow of others.
func TestAHookThatEndsItsGoroutineIsTold(t *testing.T) {
	t.Parallel()
	const n = 3
	for name, build := range map[string]func(l *Line){
		"sink": func(l *Line) { l.Into(Sink("end", func(context.Context, []int) error { return nil })) },
		"sink of others": func(l *Line) {
			l.Into(SinkOf(func() streams.Sink { return newFinisher() }))
		},
		"map of others that leaves nothing": func(l *Line) {
			l.Into(Tail(func(s streams.Source) {
				for b := range s.Out() {
					if Replace[int, string](b.(*Batch[int]), nil) != nil {
						panic("a batch of nothing")
					}
				}
			}))
		},
	} {
		for at := 1; at <= n; at++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					var told failures
					topology := NewTopology(Config{DrainTimeout: time.Minute, OnFailure: told.add})
					var mu sync.Mutex
					counted := 0
					root := NewProducer(topology, ProducerConfig[int]{
						Name: "root", Demand: (&counter{last: n}).demand,
						Acknowledger: NewAcknowledger(topology, AcknowledgerConfig[int]{Counted: func(int, int) {
							mu.Lock()
							defer mu.Unlock()
							if counted++; counted == at {
								runtime.Goexit()
							}
						}}),
					})
					build(root.Subscribe(SubscribeOptions[int]{MaxDemand: 1}))
					ran(t, topology)
					if counted != n {
						t.Errorf("it was told %d times of %d events", counted, n)
					}
					for _, f := range told.list() {
						if errors.Is(f.Err, ErrExited) && strings.Contains(f.Err.Error(), "Counted") {
							return
						}
					}
					t.Errorf("nobody was told: %v", told.list())
				})
			})
		}
	}
}

// TestAHookThatEndsItsGoroutineKeepsItFromNoOther: a batch of events of two producers ends for
// both at once, and what the one is told must not keep it from the other.
func TestAHookThatEndsItsGoroutineKeepsItFromNoOther(t *testing.T) {
	t.Parallel()
	for _, mischievous := range []string{"left", "right"} {
		t.Run(mischievous, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{DrainTimeout: time.Minute})
				var mu sync.Mutex
				done := map[string]int{}
				middle := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
					Name: "middle", Handle: func(_ context.Context, events []int) ([]int, error) { return events, nil },
				})
				handled := make(chan struct{})
				for _, name := range []string{"left", "right"} {
					given := false
					NewProducer(topology, ProducerConfig[int]{
						Name: name,
						Demand: func(context.Context, int) ([]int, error) {
							if given {
								<-handled // the one that ends first ends what is below it
								return nil, io.EOF
							}
							given = true
							return []int{1}, nil
						},
						Acknowledger: NewAcknowledger(topology, AcknowledgerConfig[int]{Counted: func(ok, _ int) {
							mu.Lock()
							defer mu.Unlock()
							if done[name] += ok; name == mischievous {
								runtime.Goexit()
							}
						}}),
					}).Subscribe(SubscribeOptions[int]{}).Into(middle)
				}
				middle.Subscribe(SubscribeOptions[int]{}).
					Via(Batcher[int]{Size: 2, Timeout: time.Hour}).
					Into(Sink("end", func(_ context.Context, events []int) error {
						if len(events) != 2 {
							t.Errorf("%d events end at once: this proves nothing", len(events))
						}
						close(handled)
						return nil
					}))
				ran(t, topology)
				if done["left"] != 1 || done["right"] != 1 {
					t.Errorf("two events were done: their producers were told of %v", done)
				}
			})
		})
	}
}

// TestAPositionThatEndsItsGoroutineHoldsNobodyUp: not the line either that ends while events
// are under way that a flow has dropped.
func TestAPositionThatEndsItsGoroutineHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	for at := 1; at <= 12; at++ {
		synctest.Test(t, func(t *testing.T) {
			var told failures
			topology := NewTopology(Config{DrainTimeout: time.Minute, OnFailure: told.add})
			var mu sync.Mutex
			asked := 0
			root := NewProducer(topology, ProducerConfig[int]{
				Name:   "root",
				Demand: func(context.Context, int) ([]int, error) { return []int{1, 2}, io.EOF },
				Acknowledger: NewAcknowledger(topology, AcknowledgerConfig[int]{
					Commit: func(context.Context, int64) error { return nil },
					Position: func(n *int) int64 {
						mu.Lock()
						defer mu.Unlock()
						if asked++; asked == at {
							runtime.Goexit()
						}
						return int64(*n)
					},
				}),
			})
			root.Subscribe(SubscribeOptions[int]{MaxDemand: 2}).Into(Tail(func(s streams.Source) {
				for range s.Out() { // nobody finishes it
				}
			}))
			err := topology.Run(t.Context())
			if err != nil && !errors.Is(err, ErrExited) { // in the producer's loop it cannot go on
				t.Errorf("position %d: Run: %v", at, err)
			}
			lost := 0
			for _, f := range told.list() {
				if errors.Is(f.Err, ErrLost) {
					lost += f.Events
				}
			}
			if err == nil && lost == 0 {
				t.Errorf("position %d: nobody was told that events were lost: %v", at, told.list())
			}
		})
	}
}
