package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the set in the Prometheus text format, together with the
// process's and the Go runtime's own metrics.
func (s *Set) Handler() http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(prometheus.Gatherers{s.registry, process}, promhttp.HandlerOpts{})
}

// collector gathers all series of a set. It describes none beforehand, since
// series of one name may carry different tags (a topic rule's, for one).
type collector Set

func (*collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, one := range (*Set)(c).all() {
		one.Collect(out)
	}
}
