package swarm

import (
	"math"
	"testing"
	"time"
)

func TestPercentiles(t *testing.T) {
	t.Parallel()
	l := NewLatencies()
	if got := l.Percentiles(); got != nil {
		t.Errorf("nothing was recorded, and half of it took %v ms", got.P50)
	}
	for i := range 1000 { // 1 to 1000 ms, the shorter ones last
		l.Record(time.Duration(1000-i) * time.Millisecond)
	}
	got := l.Percentiles()
	for name, test := range map[string]struct{ got, want Milliseconds }{
		"p50": {got.P50, 500}, "p90": {got.P90, 900}, "p99": {got.P99, 990}, "max": {got.Max, 1000},
	} {
		if math.Abs(float64(test.got/test.want)-1) > 0.001 {
			t.Errorf("%s is %v ms, want %v", name, test.got, test.want)
		}
	}
	if got.Samples != 1000 {
		t.Errorf("%d samples", got.Samples)
	}
}

func TestLatenciesBeyondTheScale(t *testing.T) {
	t.Parallel()
	l := NewLatencies()
	l.Record(-time.Second) // a clock that was set
	l.Record(time.Hour)
	if got := l.Percentiles(); got.P50 != 0 || math.Abs(float64(got.Max)/60_000-1) > 0.001 {
		t.Errorf("%+v", got)
	}
}

func TestLatenciesMerge(t *testing.T) {
	t.Parallel()
	a, b := NewLatencies(), NewLatencies()
	a.Record(time.Millisecond)
	b.Record(3 * time.Millisecond)
	a.Merge(b)
	if got := a.Percentiles(); got.Samples != 2 || math.Abs(float64(got.Max)-3) > 0.01 {
		t.Errorf("%+v", got)
	}
	if got := b.Percentiles(); got.Samples != 1 {
		t.Errorf("the other one has %+v", got)
	}
}
