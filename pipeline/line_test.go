package pipeline

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
)

func TestLineCarriesEventsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{last: 1000}
		got := &collector[string]{}
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 100}).
			Via(Filter("even", func(n *int) bool { return *n%2 == 0 })).
			Via(Batcher[int]{Size: 30}).
			Via(Map("text", func(n *int) (string, error) { return fmt.Sprint(*n), nil })).
			Via(Transform("pairs", func(_ context.Context, events []string) ([]string, error) {
				var made []string
				for i := 0; i+1 < len(events); i += 2 {
					made = append(made, events[i]+"+"+events[i+1])
				}
				if len(events)%2 == 1 {
					made = append(made, events[len(events)-1])
				}
				return made, nil
			})).
			Into(Sink("collect", got.handle))
		ran(t, topology)
		seen := map[string]bool{}
		for _, text := range got.all() {
			var a, b int
			fmt.Sscanf(text, "%d+%d", &a, &b)
			for _, n := range []int{a, b} {
				if n > 0 {
					seen[fmt.Sprint(n)] = true
				}
			}
		}
		if len(seen) != 500 {
			t.Errorf("got %d events, want 500", len(seen))
		}
	})
}

func TestDemandHoldsTheProducerBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topology := NewTopology(Config{})
		source := &counter{}
		got := &collector[int]{gate: make(chan struct{})}
		NewProducer(topology, ProducerConfig[int]{Name: "count", Demand: source.demand}).
			Subscribe(SubscribeOptions[int]{MaxDemand: 10, MinDemand: 5}).
			Into(Sink("slow", got.handle))
		end := started(t, topology)
		equal(t, "asked before anything ended", source.askedFor(), []int{10})
		got.gate <- struct{}{}
		synctest.Wait()
		equal(t, "asked after one batch ended", source.askedFor(), []int{10, 5})
		equal(t, "batches", got.sizes(), []int{5})
		close(got.gate)
		if err := end(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
