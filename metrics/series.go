package metrics

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// SampleSize bounds the values of one timing that StatsD gets per flush
// interval; beyond it they are a uniform sample.
const SampleSize = 128

// buckets of every histogram, in seconds: 50 µs to 26 s, each the double of
// the one before.
var buckets = prometheus.ExponentialBuckets(50e-6, 2, 20)

// Counter is a number that only grows. A nil Counter ignores Add.
type Counter struct {
	// Immutable after creation.
	desc  *prometheus.Desc
	label statsdName

	total atomic.Int64
	sent  int64 // owned by Run: what StatsD knows of
}

// Add adds n, which is not negative.
func (c *Counter) Add(n int64) {
	if c != nil {
		c.total.Add(n)
	}
}

// Value returns the sum so far.
func (c *Counter) Value() int64 {
	if c == nil {
		return 0
	}
	return c.total.Load()
}

func (c *Counter) flush(to statsdClient) {
	total := c.total.Load()
	to.Incr(c.label.name, total-c.sent, c.label.tags...)
	c.sent = total
}

// Describe implements [prometheus.Collector].
func (c *Counter) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (c *Counter) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(c.total.Load()))
}

// Gauge is a number that goes up and down. A nil Gauge ignores what it is
// told.
type Gauge struct {
	desc  *prometheus.Desc
	label statsdName
	value atomic.Int64
}

// Set says how much it is now.
func (g *Gauge) Set(v int64) {
	if g != nil {
		g.value.Store(v)
	}
}

// Add changes the value by d, up or down.
func (g *Gauge) Add(d int64) {
	if g != nil {
		g.value.Add(d)
	}
}

// Value returns how much it is now.
func (g *Gauge) Value() int64 {
	if g == nil {
		return 0
	}
	return g.value.Load()
}

func (g *Gauge) flush(to statsdClient) { to.Gauge(g.label.name, g.value.Load(), g.label.tags...) }

// Describe implements [prometheus.Collector].
func (g *Gauge) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (g *Gauge) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.value.Load()))
}

// gaugeFunc is a gauge that is read where it stands.
type gaugeFunc struct {
	desc  *prometheus.Desc
	label statsdName
	read  func() int64
}

func (g *gaugeFunc) flush(to statsdClient) { to.Gauge(g.label.name, g.read(), g.label.tags...) }

func (g *gaugeFunc) Describe(chan<- *prometheus.Desc) {}

func (g *gaugeFunc) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.read()))
}

// Timing is a distribution of durations. A nil Timing ignores Observe.
type Timing struct {
	label     statsdName
	histogram prometheus.Histogram

	mu sync.Mutex
	// Guarded by mu: a uniform sample of the seen values since the last flush.
	sample []time.Duration // capacity SampleSize
	seen   int

	sending []time.Duration // owned by Run: the other of the two sample buffers
}

func newTiming(label statsdName, options prometheus.HistogramOpts) *Timing {
	return &Timing{
		label:     label,
		histogram: prometheus.NewHistogram(options),
		sample:    make([]time.Duration, 0, SampleSize),
		sending:   make([]time.Duration, 0, SampleSize),
	}
}

// Observe adds one duration.
func (t *Timing) Observe(d time.Duration) {
	if t == nil {
		return
	}
	t.histogram.Observe(d.Seconds())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen++
	if len(t.sample) < SampleSize {
		t.sample = append(t.sample, d)
	} else if i := rand.IntN(t.seen); i < SampleSize { // Vitter's algorithm R
		t.sample[i] = d
	}
}

func (t *Timing) flush(to statsdClient) {
	t.mu.Lock()
	seen := t.seen
	t.sample, t.sending, t.seen = t.sending[:0], t.sample, 0
	t.mu.Unlock()
	for _, d := range t.sending {
		if seen > len(t.sending) {
			to.SampledTiming(t.label.name, d, float64(len(t.sending))/float64(seen), t.label.tags...)
		} else {
			to.PrecisionTiming(t.label.name, d, t.label.tags...)
		}
	}
}

// Describe implements [prometheus.Collector].
func (t *Timing) Describe(chan<- *prometheus.Desc) {}

// Collect implements [prometheus.Collector].
func (t *Timing) Collect(out chan<- prometheus.Metric) { t.histogram.Collect(out) }
