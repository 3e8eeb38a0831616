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
	set, err := New(Config{})
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
