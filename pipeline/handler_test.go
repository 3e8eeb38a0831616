package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errPoison = errors.New("poisoned")

// scene runs 1..n through one end and notes what became of them.
type scene struct {
	failures
	mu           sync.Mutex
	done, failed []int
	acks         int
}

func (s *scene) run(t *testing.T, n int, build func(*Line)) {
	t.Helper()
	topology := NewTopology(Config{OnFailure: s.add, Retry: Retry{Attempts: 2, Min: time.Second}})
	ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
		Position: func(n *int) int64 { return int64(*n) },
		Ended: func(a Ack[int]) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.acks++
			s.done = append(s.done, a.Done...)
			for _, f := range a.Failed {
				s.failed = append(s.failed, f.Event)
			}
			if a.Source != "count" {
				t.Errorf("ack of source %q", a.Source)
			}
		},
	})
	build(NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: n}).demand, Acknowledger: ack}).
		Subscribe(SubscribeOptions[int]{}))
	ran(t, topology)
	slices.Sort(s.done)
	slices.Sort(s.failed)
	if at, ok := ack.Safe(); !ok || at != int64(n) {
		t.Errorf("safe to commit: %d, %v", at, ok)
	}
}

func TestPoisonedEventFailsAlone(t *testing.T) {
	t.Parallel()
	poison := func(events []int) error {
		if slices.Contains(events, 3) {
			return errPoison
		}
		return nil
	}
	identity := func(_ context.Context, events []int) ([]int, error) { return events, poison(events) }
	discard := Sink("end", func(context.Context, []int) error { return nil })
	for name, c := range map[string]struct {
		build        func(*Line)
		done, failed []int
		attempts     int
	}{
		"sink": {func(l *Line) {
			l.Into(Sink("bad", func(_ context.Context, events []int) error { return poison(events) }))
		}, []int{1, 2, 4, 5}, []int{3}, 3},
		"sink that panics": {func(l *Line) {
			l.Into(Sink("bad", func(_ context.Context, events []int) error {
				if err := poison(events); err != nil {
					panic(err)
				}
				return nil
			}))
		}, []int{1, 2, 4, 5}, []int{3}, 3},
		"sink that knows": {func(l *Line) {
			l.Into(Sink("bad", func(context.Context, []int) error { return EventErrors{2: errPoison, 99: errPoison} }))
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"transform": {func(l *Line) { l.Via(Transform("bad", identity)).Into(discard) }, []int{1, 2, 4, 5}, []int{3}, 3},
		"transform, the batch whole": {func(l *Line) {
			l.Via(Transform("bad", identity, WithRetry(Retry{Attempts: 4, Whole: true}))).Into(discard)
		}, nil, []int{1, 2, 3, 4, 5}, 4},
		"map": {func(l *Line) {
			l.Via(Map("bad", func(n *int) (int, error) { return *n, poison([]int{*n}) })).Into(discard)
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"map that panics": {func(l *Line) {
			l.Via(Map("bad", func(n *int) (int, error) {
				if *n == 3 {
					panic(errPoison)
				}
				return *n, nil
			})).Into(discard)
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"filter that panics": {func(l *Line) {
			l.Via(Filter("bad", func(n *int) bool {
				if *n == 3 {
					panic(errPoison)
				}
				return *n < 4
			})).Into(discard)
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"flatmap": {func(l *Line) {
			l.Via(FlatMap("bad", func(n *int) ([]int, error) { return []int{*n, *n}, poison([]int{*n}) })).Into(discard)
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"key": {func(l *Line) {
			l.Via(KeyBatcher[int, int]{Name: "bad", Key: func(n *int) int {
				if *n == 3 {
					panic(errPoison)
				}
				return *n % 2
			}}).Into(discard)
		}, []int{1, 2, 4, 5}, []int{3}, 1},
		"supervise": {func(l *Line) {
			l.Into(Supervise("bad", func(_ context.Context, n int) error { return poison([]int{n}) }))
		}, []int{1, 2, 4, 5}, []int{3}, 2},
		"behind what was made of all": {func(l *Line) {
			l.Via(Transform("same", func(_ context.Context, events []int) ([]int, error) { return events, nil })).
				Into(Sink("bad", func(_ context.Context, events []int) error { return poison(events) }))
		}, nil, []int{1, 2, 3, 4, 5}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var s scene
				s.run(t, 5, c.build)
				equal(t, "done", s.done, c.done)
				equal(t, "failed", s.failed, c.failed)
				list := s.list()
				if len(list) != 1 {
					t.Fatalf("failures: %+v", list)
				}
				f := list[0]
				if f.Stage != "bad" || !errors.Is(f.Err, errPoison) || f.Attempts != c.attempts {
					t.Errorf("failure: %+v", f)
				}
				if !slices.Contains(f.Positions, 3) {
					t.Errorf("positions %v are without the poisoned one's", f.Positions)
				}
			})
		})
	}
}

func TestHandlerIsRetriedWithBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s scene
		var at []time.Duration
		begin := time.Now()
		s.run(t, 3, func(l *Line) {
			l.Into(Sink("flaky", func(context.Context, []int) error {
				if at = append(at, time.Since(begin)); len(at) < 4 {
					return errPoison
				}
				return nil
			}, WithRetry(Retry{Attempts: Forever, Min: time.Second, Max: 2 * time.Second})))
		})
		equal(t, "called at", at, []time.Duration{0, time.Second, 3 * time.Second, 5 * time.Second})
		equal(t, "done", s.done, upTo(3))
		if len(s.list()) != 0 {
			t.Errorf("failures: %+v", s.list())
		}
	})
}

func TestSuccessesAndFailuresAreAcknowledgedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s scene
		s.run(t, 6, func(l *Line) {
			l.Via(Batcher[int]{}).Into(Sink("end", func(context.Context, []int) error {
				return EventErrors{1: errPoison, 4: errPoison}
			}))
		})
		equal(t, "done", s.done, []int{1, 3, 4, 6})
		equal(t, "failed", s.failed, []int{2, 5})
		if s.acks != 1 {
			t.Errorf("told in %d parts", s.acks)
		}
	})
}

func TestEventErrorsSayWhichFailed(t *testing.T) {
	t.Parallel()
	err := EventErrors{5: errPoison, 1: errPoison, 3: errPoison, 9: errPoison}
	if text := err.Error(); !strings.HasPrefix(text, "4 events failed; 1: poisoned; 3: poisoned; 5: poisoned") {
		t.Errorf("got %q", text)
	}
}

func TestFlowsDoNotWriteToEventsThatOthersShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "count", Demand: (&counter{last: 200}).demand, Dispatcher: NewBroadcast[int](),
		})
		var lines []*collector[int]
		for i := range 3 {
			got := &collector[int]{}
			lines = append(lines, got)
			producer.Subscribe(SubscribeOptions[int]{MaxDemand: 10 + i}).
				Via(Filter("most", func(n *int) bool { return *n%(i+2) != 0 })).
				Via(Batcher[int]{Size: 7}).
				Into(Sink("end", got.handle))
		}
		ran(t, topology)
		for i, got := range lines {
			want := slices.DeleteFunc(upTo(200), func(n int) bool { return n%(i+2) == 0 })
			equal(t, fmt.Sprint("line ", i), got.all(), want)
		}
	})
}
