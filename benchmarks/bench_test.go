package benchmarks

import (
	"testing"
	"time"
)

// BenchmarkScenarios runs each scenario that is about throughput or latency, for
// profiles of the whole way; in Postgres if DATABASE_URL names one.
func BenchmarkScenarios(b *testing.B) {
	for _, name := range []string{"fanout", "single", "topics", "channels", "log", "backlog", "steady"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				run(b, name)
			}
		})
	}
}

func run(b *testing.B, name string) {
	for _, s := range Scenarios() {
		if s.Name() != name {
			continue
		}
		base := s.(ServerScenario).Common()
		base.Server = inProcess()
		switch s := s.(type) {
		case *Bulk:
			s.For = 2 * time.Second
		case *Steady:
			s.For = 3 * time.Second
		}
		r, err := s.Run(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		if !r.Sound() {
			b.Fatalf("%+v", r.Check)
		}
		b.ReportMetric(r.EventsPerSecond, "events/s")
		b.ReportMetric(r.DeliveriesPerSecond, "deliveries/s")
		if l := r.Latency; l != nil {
			b.ReportMetric(float64(l.P50), "p50-ms")
			b.ReportMetric(float64(l.P99), "p99-ms")
		}
	}
}
