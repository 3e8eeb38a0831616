package swarm

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded to three digits, up to a minute; longer ones count as
// a minute.
const (
	latencyUnit   = time.Microsecond
	latencyMax    = time.Minute
	latencyDigits = 3
)

// Latencies records how long things took. It may be used concurrently.
type Latencies struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // in units; guarded by mu
}

// NewLatencies makes an empty record.
func NewLatencies() *Latencies {
	return &Latencies{histogram: hdrhistogram.New(1, int64(latencyMax/latencyUnit), latencyDigits)}
}

// Record enters one latency.
func (l *Latencies) Record(d time.Duration) {
	units := int64(min(max(d, 0), latencyMax) / latencyUnit)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.histogram.RecordValue(units) // it fails only beyond the maximum
}

// Merge enters all that another record holds.
func (l *Latencies) Merge(other *Latencies) {
	other.mu.Lock()
	snapshot := other.histogram.Export()
	other.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.histogram.Merge(hdrhistogram.Import(snapshot))
}

// Percentiles sums up what was recorded; nil if that is nothing.
func (l *Latencies) Percentiles() *Percentiles {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.histogram.TotalCount() == 0 {
		return nil
	}
	at := func(percent float64) Milliseconds {
		return ToMilliseconds(time.Duration(l.histogram.ValueAtPercentile(percent)) * latencyUnit)
	}
	return &Percentiles{
		Samples: l.histogram.TotalCount(),
		P50:     at(50),
		P90:     at(90),
		P99:     at(99),
		P999:    at(99.9),
		Max:     at(100),
	}
}

// Percentiles says how long things took: half of them up to P50, and so on.
type Percentiles struct {
	Samples int64        `json:"samples"`
	P50     Milliseconds `json:"p50"`
	P90     Milliseconds `json:"p90"`
	P99     Milliseconds `json:"p99"`
	P999    Milliseconds `json:"p99_9,omitempty"`
	Max     Milliseconds `json:"max"`
}

// Milliseconds is a duration as results tell it.
type Milliseconds float64

// ToMilliseconds converts a duration.
func ToMilliseconds(d time.Duration) Milliseconds {
	return Milliseconds(float64(d) / float64(time.Millisecond))
}
