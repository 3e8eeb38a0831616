package pipeline

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// timed is a demand handler that gives the next event after each pause, then waits
// for the drain or ends.
func timed(ends bool, pauses ...time.Duration) func(context.Context, int) ([]int, error) {
	n := 0
	return func(ctx context.Context, _ int) ([]int, error) {
		if n == len(pauses) {
			if ends {
				return nil, io.EOF
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if !sleep(ctx, pauses[n]) {
			return nil, ctx.Err()
		}
		n++
		return []int{n}, nil
	}
}

// arrivals is a sink that notes when which events came.
func arrivals(into *[]string) End {
	begin := time.Now()
	return Sink("end", func(_ context.Context, events []int) error {
		*into = append(*into, fmt.Sprint(time.Since(begin), events))
		return nil
	})
}

func TestBatcherFlushes(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		batcher Batcher[int]
		max     int
		pauses  []time.Duration
		want    []string
	}{
		"on size":                      {Batcher[int]{Size: 2, Timeout: time.Hour}, 100, []time.Duration{ms, ms, ms, ms}, []string{"2ms [1 2]", "4ms [3 4]"}},
		"on time since the first":      {Batcher[int]{Size: 9, Timeout: 10 * ms}, 100, []time.Duration{ms, 6 * ms, 6 * ms, 6 * ms, 30 * ms}, []string{"11ms [1 2]", "23ms [3 4]", "49ms [5]"}},
		"at once without a timeout":    {Batcher[int]{Size: 9}, 100, []time.Duration{ms, ms}, []string{"1ms [1]", "2ms [2]"}},
		"when all that was asked came": {Batcher[int]{Size: 9, Timeout: time.Hour}, 3, []time.Duration{ms, ms, ms, ms}, []string{"3ms [1 2 3]", "4ms [4]"}},
		"at the end":                   {Batcher[int]{Size: 9, Timeout: time.Hour}, 100, []time.Duration{ms, ms}, []string{"2ms [1 2]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				var got []string
				NewProducer(topology, ProducerConfig[int]{Name: "timed", Demand: timed(true, c.pauses...)}).
					Subscribe(SubscribeOptions[int]{MaxDemand: c.max, MinDemand: -1}).
					Via(c.batcher).Into(arrivals(&got))
				ran(t, topology)
				equal(t, "got", got, c.want)
			})
		})
	}
}

func TestBatcherCutsWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 25}).demand}).
			Subscribe(SubscribeOptions[int]{}).
			Via(Batcher[int]{Size: 10}).Into(Sink("end", got.handle))
		ran(t, topology)
		equal(t, "sizes", got.sizes(), []int{10, 10, 5})
		equal(t, "got", got.all(), upTo(25))
	})
}

func TestBatcherGrowsWhileTheNextStageIsBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		got := &collector[int]{gate: make(chan struct{})}
		pauses := slices.Repeat([]time.Duration{time.Millisecond}, 10)
		NewProducer(topology, ProducerConfig[int]{Name: "timed", Demand: timed(false, pauses...)}).
			Subscribe(SubscribeOptions[int]{}).
			Via(Batcher[int]{Size: 6}).Into(Sink("end", got.handle))
		end := started(t, topology)
		time.Sleep(20 * time.Millisecond) // of the test's own clock
		close(got.gate)
		if err := end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "sizes", got.sizes(), []int{1, 6, 3})
	})
}

func TestKeyBatcherFlushes(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		size    int
		timeout time.Duration
		max     int
		pauses  []time.Duration
		want    []string
	}{
		"on size, each key its own":    {2, time.Hour, 100, []time.Duration{ms, ms, ms, ms, ms}, []string{"3ms [1 3]", "4ms [2 4]", "5ms [5]"}},
		"on time, each key its own":    {9, 10 * ms, 100, []time.Duration{ms, 4 * ms, 8 * ms, 20 * ms}, []string{"11ms [1]", "15ms [2]", "23ms [3]", "33ms [4]"}},
		"at once without a timeout":    {9, 0, 100, []time.Duration{ms, ms}, []string{"1ms [1]", "2ms [2]"}},
		"when all that was asked came": {9, time.Hour, 3, []time.Duration{ms, ms, ms, ms}, []string{"3ms [1 3]", "3ms [2]", "4ms [4]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topology := NewTopology(Config{})
				var got []string
				NewProducer(topology, ProducerConfig[int]{Name: "timed", Demand: timed(true, c.pauses...)}).
					Subscribe(SubscribeOptions[int]{MaxDemand: c.max, MinDemand: -1}).
					Via(KeyBatcher[int, bool]{Key: func(n *int) bool { return *n%2 == 0 }, Size: c.size, Timeout: c.timeout}).
					Into(arrivals(&got))
				ran(t, topology)
				slices.Sort(got)
				want := slices.Clone(c.want)
				slices.Sort(want)
				equal(t, "got", got, want)
			})
		})
	}
}

// Small demands above, many keys below: what a batcher holds is all that will come.
func TestBatchersBelowAProducerConsumerDoNotWaitInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		both := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name:   "both",
			Handle: func(_ context.Context, events []int) ([]int, error) { return events, nil },
		})
		NewProducer(topology, ProducerConfig[int]{Name: "timed", Demand: timed(true, slices.Repeat([]time.Duration{time.Millisecond}, 20)...)}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 5, MinDemand: -1}).Into(both)
		got := &collector[int]{}
		both.Subscribe(SubscribeOptions[int]{}).
			Via(Filter("no fives", func(n *int) bool { return *n%5 != 0 })).
			Via(KeyBatcher[int, int]{Key: func(n *int) int { return *n % 3 }, Timeout: time.Hour}).
			Into(Sink("end", got.handle))
		begin := time.Now()
		ran(t, topology)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("took %v", took)
		}
		if n := len(got.all()); n != 16 {
			t.Errorf("got %d events", n)
		}
	})
}

func TestLimiterLetsSoManyThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		limiter := NewLimiter(2, time.Second)
		var got []string
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 15}).demand}).
			Subscribe(SubscribeOptions[int]{}).
			Via(Limit[int]("limit", limiter)).Into(arrivals(&got))
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		time.Sleep(1500 * time.Millisecond) // of the test's own clock
		limiter.Set(5, time.Minute)         // less in all, but five in an interval that has had two
		time.Sleep(time.Second)             // of the test's own clock
		limiter.Set(0, 0)                   // no limit
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		equal(t, "got", got, []string{"0s [1 2]", "1s [3 4]", "1.5s [5 6 7]", "2.5s [8 9 10 11 12 13 14 15]"})
	})
}

func TestLinesShareALimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		limiter := NewLimiter(10, time.Second)
		got := &collector[int]{}
		producer := NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: (&counter{last: 100}).demand})
		for range 3 {
			producer.Subscribe(SubscribeOptions[int]{MaxDemand: 10}).Via(Limit[int]("limit", limiter)).Into(Sink("end", got.handle))
		}
		begin := time.Now()
		ran(t, topology)
		if took := time.Since(begin); took != 9*time.Second {
			t.Errorf("100 events took %v", took)
		}
	})
}
