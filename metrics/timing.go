package metrics

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A histogram's buckets are bounded by 50 µs, and each by the double of the one before:
// the last is 26 s, and beyond it is one more.
const (
	firstBound = 50 * time.Microsecond
	bounds     = 20
)

// Timing is a distribution of durations. A nil Timing ignores Observe.
type Timing struct {
	// Immutable after creation.
	label   statsdName
	desc    *prometheus.Desc
	created time.Time
	sampled bool // StatsD listens

	// Any goroutine adds to these, with no lock: what counts a thing must not hold it up.
	counts [bounds + 1]atomic.Uint64 // of each bucket alone
	sum    atomic.Uint64             // of the seconds, the bits of a float64

	sample timingSample
}

func newTiming(label statsdName, desc *prometheus.Desc, sampled bool) *Timing {
	t := &Timing{label: label, desc: desc, created: time.Now(), sampled: sampled}
	t.sample.init()
	return t
}

// Observe adds one duration. A negative one, of clocks that differ, counts as none.
func (t *Timing) Observe(d time.Duration) {
	if t == nil {
		return
	}
	d = max(d, 0)
	t.counts[bucketOf(d)].Add(1)
	for {
		old := t.sum.Load()
		if t.sum.CompareAndSwap(old, math.Float64bits(math.Float64frombits(old)+d.Seconds())) {
			break
		}
	}
	if t.sampled {
		t.sample.offer(d)
	}
}

// bucketOf is the bucket of a duration: the first whose bound it does not exceed.
func bucketOf(d time.Duration) int {
	if d == 0 {
		return 0
	}
	return min(bits.Len64(uint64((d-1)/firstBound)), bounds)
}

// seen is how many durations there have been.
func (t *Timing) seen() (n uint64) {
	for i := range t.counts {
		n += t.counts[i].Load()
	}
	return n
}

func (t *Timing) flush(to statsdClient) {
	values, rate := t.sample.take(t.seen)
	for _, v := range values {
		if rate < 1 {
			to.SampledTiming(t.label.name, v.duration, rate, t.label.tags...)
		} else {
			to.PrecisionTiming(t.label.name, v.duration, t.label.tags...)
		}
	}
}

// Describe implements [prometheus.Collector].
func (t *Timing) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (t *Timing) Collect(out chan<- prometheus.Metric) {
	cumulative := make(map[float64]uint64, bounds)
	bound, n := firstBound, uint64(0)
	for i := range bounds {
		n += t.counts[i].Load()
		cumulative[bound.Seconds()] = n
		bound *= 2
	}
	n += t.counts[bounds].Load()
	sum := math.Float64frombits(t.sum.Load())
	out <- prometheus.MustNewConstHistogramWithCreatedTimestamp(t.desc, n, sum, cumulative, t.created)
}
