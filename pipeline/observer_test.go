package pipeline

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watch sums reports by stage.
type watch struct {
	mu     sync.Mutex
	totals map[string]*Report
	peak   map[string]Report
}

func (w *watch) Stage(name string) Recorder {
	if name == "unwatched" {
		return nil
	}
	return &watched{w, name}
}

type watched struct {
	*watch
	name string
}

func (w *watched) Record(r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.totals == nil {
		w.totals, w.peak = map[string]*Report{}, map[string]Report{}
	}
	t := w.totals[w.name]
	if t == nil {
		t = &Report{}
		w.totals[w.name] = t
	}
	t.In += r.In
	t.Out += r.Out
	t.Failed += r.Failed
	t.Discarded += r.Discarded
	t.Retries += r.Retries
	t.Took += r.Took
	t.Wait += r.Wait
	t.AwaitEvents += r.AwaitEvents
	t.AwaitDemand += r.AwaitDemand
	p := w.peak[w.name]
	p.Buffered, p.Demand = max(p.Buffered, r.Buffered), max(p.Demand, r.Demand)
	w.peak[w.name] = p
}

func TestStagesReport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &watch{}
		topology := NewTopology(Config{Observer: w})
		calls := 0
		producer := NewProducer(topology, ProducerConfig[int]{
			Name: "fetch", Retry: Retry{Min: time.Second},
			Dispatcher: PartitionBy(2, func(n *int) int { return *n%2 - 1 }), // even ones are discarded
			Demand: func(ctx context.Context, _ int) ([]int, error) {
				sleep(ctx, time.Second)
				switch calls++; calls {
				case 1:
					return nil, errors.New("no connection")
				case 2:
					return upTo(8), nil
				}
				return nil, io.EOF
			},
		})
		producer.Subscribe(SubscribeOptions[int]{MaxDemand: 2, MinDemand: 1}).
			Via(Filter("unwatched", func(*int) bool { return true })).
			Via(Map("map", func(n *int) (int, error) {
				if *n == 3 {
					return 0, errPoison
				}
				return *n, nil
			})).
			Via(Batcher[int]{}).
			Into(Sink("sink", func(ctx context.Context, events []int) error {
				time.Sleep(time.Second) // of the test's own clock
				return nil
			}))
		ran(t, topology)
		for name, want := range map[string]Report{
			"fetch": {Out: 4, Discarded: 4, Retries: 1, Took: 3 * time.Second},
			"map":   {In: 4, Out: 3, Failed: 1},
			"batch": {In: 3, Out: 3},
			"sink":  {In: 3, Out: 3},
		} {
			got := *w.totals[name]
			waits := got
			got.Wait, got.AwaitDemand, got.AwaitEvents = 0, 0, 0
			if name == "sink" {
				got.Took = 0
			}
			if got != want {
				t.Errorf("%s: got %+v, want %+v", name, got, want)
			}
			if name == "sink" && (waits.AwaitEvents < 2*time.Second || waits.Took < time.Second) {
				t.Errorf("the sink waited for events %v and took %v", waits.AwaitEvents, waits.Took)
			}
			if name == "fetch" && waits.AwaitDemand == 0 {
				t.Error("the fetch never waited for demand")
			}
		}
		if p := w.peak["fetch"]; p.Demand != 2 || p.Buffered == 0 {
			t.Errorf("peaks of fetch: %+v", p)
		}
	})
}
