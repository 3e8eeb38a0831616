package timeline

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// rig is a timeline of a node that does what a test says.
type rig struct {
	*Timeline
	set    *metrics.Set
	pushed int64
	now    time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{set: set, now: time.Unix(1e9, 0)}
	r.Timeline = New(Config{Metrics: set, Pushed: func() int64 { return r.pushed }, Deepest: func() int64 { return 12 }, Levels: func() (int64, int64) { return 3, 4 }})
	r.begin(r.now)
	return r
}

// step has some time pass, and samples.
func (r *rig) step(d time.Duration) (Sample, []Stage) {
	r.now = r.now.Add(d)
	return r.sample(r.now)
}

func TestSample(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, _, ok := r.Last(); ok {
		t.Error("there is a sample before the first")
	}
	routed, delivery := r.set.Counter(metrics.EventsRouted), r.set.Timing(metrics.DeliveryTime)
	routed.Add(1000)
	r.pushed = 5000
	for range 100 {
		delivery.Observe(10 * time.Millisecond)
	}
	first, _ := r.step(2 * time.Second) // late: rates are of the time that passed
	if first.Routed != 500 || first.Pushed != 2500 || first.Lag != 3 || first.OutboxRows != 4 || !first.At.Equal(r.now) {
		t.Errorf("the first sample is %+v", first)
	}
	if first.P50 < 0.005 || first.P50 > 0.02 || first.P99 < first.P50 {
		t.Errorf("delivery took %v, and %v at p99, want about 10ms", first.P50, first.P99)
	}
	second, _ := r.step(time.Second)
	if second.Routed != 0 || second.Pushed != 0 || second.P50 != 0 || second.P99 != 0 {
		t.Errorf("with nothing done the sample is %+v", second)
	}
	if last, _, ok := r.Last(); !ok || last != second {
		t.Errorf("the last sample is %+v", last)
	}
	if again, _ := r.step(0); math.IsNaN(again.Routed) || math.IsInf(again.Routed, 0) {
		t.Errorf("with no time between, %+v", again)
	}
}

func TestTimelineIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range Kept + 7 {
		last, _ := r.step(time.Second)
		samples := r.Samples()
		if len(samples) != min(i+1, Kept) || samples[len(samples)-1] != last {
			t.Fatalf("after %d there are %d samples, the last at %v", i+1, len(samples), samples[len(samples)-1].At)
		}
		for j := range samples[1:] {
			if samples[j+1].At.Sub(samples[j].At) != time.Second {
				t.Fatalf("samples %d and %d are at %v and %v", j, j+1, samples[j].At, samples[j+1].At)
			}
		}
	}
}

func TestStages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	encode := metrics.Stage("encode")
	took, wait := r.set.Timing(metrics.StageTime, encode), r.set.Timing(metrics.StageWait, encode)
	for range 90 {
		took.Observe(10 * time.Millisecond)
		wait.Observe(100 * time.Millisecond)
	}
	r.set.Counter(metrics.StageErrors, encode).Add(2)
	r.set.Timing(metrics.StageTime, metrics.Stage("mailbox")).Observe(5 * time.Second) // it is where messages wait for slow clients
	r.set.Gauge(metrics.StageDemand, metrics.Stage("fetch")).Set(1000)
	_, stages := r.step(time.Second)
	var names []string
	for _, s := range stages {
		names = append(names, s.Name)
		switch s.Name {
		case "encode":
			if s.Batches != 90 || math.Abs(s.Busy-0.9) > 0.001 || s.Errors != 2 || s.Wait.P50 < 0.05 || s.Time.P99 > 0.02 || s.Demand != nil {
				t.Errorf("encode is %+v", s)
			}
		case "fetch":
			if s.Demand == nil || *s.Demand != 1000 || s.Depth == nil {
				t.Errorf("fetch is %+v", s)
			}
		case "mailbox":
			if s.Depth == nil || *s.Depth != 12 || s.Demand != nil {
				t.Errorf("the mailbox is %+v", s)
			}
		}
	}
	if len(names) != 6 || names[0] != "fetch" || names[5] != "write" {
		t.Errorf("the line is %v", names)
	}
	if slowest := Slowest(stages); slowest != "encode" {
		t.Errorf("%q holds the others up", slowest)
	}
	if _, stages = r.step(time.Second); Slowest(stages) != "" {
		t.Errorf("%q holds the others up, with nothing to do", Slowest(stages))
	}
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		told := 0
		r.config.After = func() { told++ }
		ctx, stop := context.WithTimeout(t.Context(), 10*Interval+Interval/2)
		defer stop()
		if err := r.Run(ctx); err != nil || told != 10 || len(r.Samples()) != 10 {
			t.Errorf("Run: %v; %d samples told, %d kept", err, told, len(r.Samples()))
		}
	})
}
