package benchmarks

import (
	"os"
	"testing"
	"time"
)

// The database to measure on; without one, the embedded store.
var databaseURL = os.Getenv("DATABASE_URL")

// BenchmarkBacklog is the scenario of that name, for profiles of the whole way.
func BenchmarkBacklog(b *testing.B) {
	for name, sequenced := range map[string]bool{"log": true, "outbox": false} {
		b.Run(name, func(b *testing.B) {
			scenario := DefaultBacklog()
			scenario.Service.DatabaseURL, scenario.Sequenced = databaseURL, sequenced
			run(b, scenario)
		})
	}
}

// BenchmarkSteady is the scenario of that name.
func BenchmarkSteady(b *testing.B) {
	scenario := DefaultSteady()
	scenario.Service.DatabaseURL, scenario.Duration, scenario.WarmUp = databaseURL, 3*time.Second, time.Second
	run(b, scenario)
}

func run(b *testing.B, scenario Scenario) {
	for b.Loop() {
		r, err := scenario.Run(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		if !r.Sound() {
			b.Fatalf("%+v", r.Check)
		}
		b.ReportMetric(r.EventsPerSecond, "events/s")
		b.ReportMetric(r.DeliveriesPerSecond, "deliveries/s")
		if r.CPUSeconds > 0 {
			b.ReportMetric(float64(r.Events)/r.CPUSeconds, "events/cpu-s")
		}
		if l := r.Latency; l != nil {
			b.ReportMetric(float64(l.P50), "p50-ms")
			b.ReportMetric(float64(l.P99), "p99-ms")
		}
	}
}
