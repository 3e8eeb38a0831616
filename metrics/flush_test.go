package metrics

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smira/go-statsd"
)

// recording is a StatsD client that keeps what it is told.
type recording struct{ lines []string }

func (r *recording) Incr(name string, count int64, _ ...statsd.Tag) {
	r.lines = append(r.lines, name+":"+strconv.FormatInt(count, 10))
}

func (r *recording) Gauge(name string, value int64, _ ...statsd.Tag) {
	r.lines = append(r.lines, name+"="+strconv.FormatInt(value, 10))
}

func (r *recording) PrecisionTiming(name string, d time.Duration, _ ...statsd.Tag) {
	r.lines = append(r.lines, name+" "+d.String())
}

func (r *recording) SampledTiming(name string, d time.Duration, rate float64, _ ...statsd.Tag) {
	r.lines = append(r.lines, name+" "+d.String()+" @"+strconv.FormatFloat(rate, 'f', -1, 64))
}

func newSet(t *testing.T) *Set {
	t.Helper()
	set, err := New(Config{StatsD: "127.0.0.1:9"}) // whom nobody calls
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestFlushSendsACountersGrowthAndAGaugeAsItStands(t *testing.T) {
	t.Parallel()
	set, to := newSet(t), &recording{}
	counter, gauge := set.Counter(Joins, Status("ok")), set.Gauge(Sockets)
	counter.Add(2)
	gauge.Set(3)
	set.flush(to)
	counter.Add(5)
	set.flush(to)
	if want := []string{"joins:2", "sockets=3", "joins:5", "sockets=3"}; !slices.Equal(to.lines, want) {
		t.Errorf("got %q, want %q", to.lines, want)
	}
}

func TestFlushSendsASampleOfATiming(t *testing.T) {
	t.Parallel()
	set, to := newSet(t), &recording{}
	timing := set.Timing(JoinTime)
	var observers sync.WaitGroup
	for range 4 {
		observers.Go(func() {
			for i := range SampleSize {
				timing.Observe(time.Duration(i))
			}
		})
	}
	observers.Wait()
	set.flush(to)
	if len(to.lines) != SampleSize {
		t.Errorf("got %d values, want %d", len(to.lines), SampleSize)
	}
	for _, line := range to.lines {
		if !strings.HasSuffix(line, " @0.25") {
			t.Errorf("%s does not say that it stands for four", line)
		}
	}
	timing.Observe(time.Hour)
	to.lines = nil
	set.flush(to)
	if want := []string{"join.time 1h0m0s"}; !slices.Equal(to.lines, want) {
		t.Errorf("got %q, want %q: what was sent is not sent again", to.lines, want)
	}
}

// TestSamplesAreUniform has far more durations than a sample holds, in each of several
// intervals: each part of an interval is in the samples as often as it should be, and what
// the samples stand for adds up to what there has been.
func TestSamplesAreUniform(t *testing.T) {
	t.Parallel()
	const intervals, parts, each = 200, 4, 3 * SampleSize
	set := newSet(t)
	timing := set.Timing(JoinTime)
	var drawn [parts]int
	for range intervals {
		for i := range parts * each {
			timing.Observe(time.Duration(i / each))
		}
		values, rate := timing.sample.take(timing.seen)
		if rate != float64(SampleSize)/(parts*each) {
			t.Fatalf("%d values at a rate of %v", len(values), rate)
		}
		for _, v := range values {
			drawn[v.duration]++
		}
	}
	// A part has 6,400 values of 25,600 on the average, with a standard deviation of 66.
	for part, n := range drawn {
		if mean := intervals * SampleSize / parts; n < mean-500 || n > mean+500 {
			t.Errorf("part %d has %d of the values, %d on the average: %v", part, n, mean, drawn)
		}
	}
}

// TestNothingIsLostBetweenSamples takes samples while others observe: with few in each interval
// StatsD gets every one of them, once.
func TestNothingIsLostBetweenSamples(t *testing.T) {
	t.Parallel()
	set := newSet(t)
	timing := set.Timing(JoinTime)
	const observers, each = 4, SampleSize / 4
	var got []time.Duration
	to := func() {
		values, rate := timing.sample.take(timing.seen)
		for _, v := range values {
			got = append(got, v.duration)
		}
		if rate != 1 && len(values) > 0 {
			t.Errorf("%d values at a rate of %v", len(values), rate)
		}
	}
	for round := range 50 {
		var observing sync.WaitGroup
		for o := range observers {
			observing.Go(func() {
				for i := range each {
					timing.Observe(time.Duration(round*observers*each + o*each + i))
				}
			})
		}
		for range 10 {
			to()
		}
		observing.Wait()
		to()
	}
	slices.Sort(got)
	for i, d := range got {
		if d != time.Duration(i) {
			t.Fatalf("value %d is %d", i, d)
		}
	}
	if len(got) != 50*observers*each {
		t.Errorf("%d values", len(got))
	}
}

// TestBuckets holds the bucket of a duration to what Prometheus would have chosen.
func TestBuckets(t *testing.T) {
	t.Parallel()
	bound := firstBound
	for i := range bounds + 1 {
		for _, c := range []struct {
			d    time.Duration
			want int
		}{{bound/2 + 1, i}, {bound, i}, {bound + 1, min(i+1, bounds)}} {
			if got := bucketOf(c.d); got != c.want {
				t.Errorf("%v is in bucket %d, want %d", c.d, got, c.want)
			}
		}
		bound *= 2
	}
	for d, want := range map[time.Duration]int{0: 0, 1: 0, firstBound: 0, firstBound + 1: 1, 1<<63 - 1: bounds} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}
