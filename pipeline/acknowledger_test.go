package pipeline

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func position(n *int) int64 { return int64(*n) }

func TestSafePositionWaitsForTheSlowestLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{Position: position})
		if _, ok := ack.Safe(); ok {
			t.Error("something is safe before anything was emitted")
		}
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "count", Demand: (&counter{last: 12}).demand, Acknowledger: ack,
			Dispatcher: PartitionBy(3, func(n *int) int { return *n % 3 }),
		})
		var lanes []*collector[int]
		for lane := range 3 {
			got := &collector[int]{gate: make(chan struct{})}
			lanes = append(lanes, got)
			producer.Subscribe(SubscribeOptions[int]{Partition: lane, MaxDemand: 3, MinDemand: 2}).Into(Sink("end", got.handle))
		}
		result := make(chan error, 1)
		go func() { result <- topology.Run(t.Context()) }()
		for _, s := range []struct{ lane, safe int }{
			{2, 0}, // 2 has ended, 1 has not
			{2, 0}, // 5
			{1, 2}, // 1: then 3 is the first that has not
			{0, 3}, // 3: then 4
			{1, 5}, // 4; 5 had ended before: then 6
			{1, 5}, // 7
			{0, 7}, // 6
			{1, 7}, // 10
			{2, 8}, {0, 10}, {2, 11}, {0, 12},
		} {
			lanes[s.lane].gate <- struct{}{}
			synctest.Wait()
			if at, ok := ack.Safe(); !ok || at != int64(s.safe) {
				t.Errorf("after one more of lane %d: %d is safe, want %d", s.lane, at, s.safe)
			}
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
	})
}

func TestCommitsNowAndThenAndAtTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var failed failures
		topology := NewTopology(Config{OnFailure: failed.add})
		var commits []string
		begin := time.Now()
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{
			Position: position,
			Every:    time.Second,
			Commit: func(ctx context.Context, at int64) error {
				commits = append(commits, fmt.Sprint(time.Since(begin), " ", at))
				switch len(commits) {
				case 2:
					return errors.New("no connection")
				case 3:
					panic("broken")
				}
				return ctx.Err()
			},
		})
		pauses := []time.Duration{0, 500 * time.Millisecond, 700 * time.Millisecond, 3 * time.Second, 200 * time.Millisecond}
		got := &collector[int]{}
		NewProducer(topology, ProducerConfig[int]{Name: "timed", Demand: timed(true, pauses...), Acknowledger: ack}).
			Subscribe(SubscribeOptions[int]{}).Into(Sink("end", got.handle))
		ran(t, topology)
		equal(t, "commits", commits, []string{"1s 2", "2s 3", "3s 3", "4s 3", "4.4s 5"})
		if list := failed.list(); len(list) != 2 || list[0].Stage != "timed" || list[0].Positions[0] != 3 {
			t.Errorf("failures: %+v", list)
		}
	})
}

func TestAcksAreGroupedBySource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		acks := make(chan string, 10)
		both := NewProducerConsumer(topology, ProducerConsumerConfig[int, int]{
			Name:   "both",
			Handle: func(_ context.Context, events []int) ([]int, error) { return events, nil },
		})
		for _, name := range []string{"a", "b"} {
			ack := NewAcknowledger(topology, AcknowledgerConfig[int]{Ended: func(a Ack[int]) {
				acks <- fmt.Sprint(a.Source, a.Done, len(a.Failed))
			}})
			NewProducer(topology, ProducerConfig[int]{Name: name, Demand: timed(false, time.Second, time.Second, time.Second), Acknowledger: ack}).
				Subscribe(SubscribeOptions[int]{}).Into(both)
		}
		both.Subscribe(SubscribeOptions[int]{}).
			Via(Batcher[int]{Size: 6, Timeout: time.Minute}).
			Into(Sink("end", func(context.Context, []int) error { return nil }))
		end := started(t, topology)
		time.Sleep(time.Second * 4) // of the test's own clock
		synctest.Wait()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		close(acks)
		seen := map[string]int{}
		for a := range acks {
			seen[a]++
		}
		if seen["a[1 2 3] 0"] != 1 || seen["b[1 2 3] 0"] != 1 || len(seen) != 2 {
			t.Errorf("acks: %v", seen)
		}
	})
}

func TestEndsAreCountedForWhoNeedsNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		var done, failed, told int
		ack := NewAcknowledger(topology, AcknowledgerConfig[int]{Counted: func(d, f int) {
			done, failed, told = done+d, failed+f, told+1
		}})
		NewProducer(topology, ProducerConfig[int]{Name: "a", Demand: timed(true, time.Second, time.Second, time.Second), Acknowledger: ack}).
			Subscribe(SubscribeOptions[int]{}).
			Via(Map("even", func(n *int) (int, error) {
				if *n%2 == 1 {
					return 0, errors.New("odd")
				}
				return *n, nil
			})).
			Via(Batcher[int]{Size: 6, Timeout: time.Minute}).
			Into(Sink("end", func(context.Context, []int) error { return nil }))
		ran(t, topology)
		if done != 1 || failed != 2 || told != 3 {
			t.Errorf("%d done and %d failed in %d steps", done, failed, told)
		}
	})
}
