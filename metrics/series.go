package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Counter is a number that only grows. A nil Counter ignores Add.
type Counter struct {
	// Immutable after creation.
	desc  *prometheus.Desc
	label statsdName
	name  Name
	tags  []Tag

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
