package benchmarks

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Result is what a run came to. Its JSON is the raw form; [Result.WriteTable]
// is for reading.
type Result struct {
	Scenario string  `json:"scenario"`
	Params   []Param `json:"params"`

	Events     int64 `json:"events"`     // inserted
	Deliveries int64 `json:"deliveries"` // received by clients

	// Seconds count from when all had been inserted, or from the first
	// delivery if that was before, to the last delivery.
	Seconds             float64 `json:"seconds"`
	EventsPerSecond     float64 `json:"events_per_second"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`
	// CPUSeconds is what this process used from the first insert to the last
	// delivery, its clients included and the database not. Zero where the
	// system does not tell.
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`

	// Latency, from the beginning of an insert until a client has the event,
	// stands where the scenario measures it.
	Latency *Percentiles `json:"latency_ms,omitempty"`

	Check
	// CutBecause is why the first of the sockets that were cut ended.
	CutBecause string `json:"cut_because,omitempty"`

	// Figures are what else the scenario tells.
	Figures []Param `json:"figures,omitempty"`
	// Broken is what was promised beyond the check and did not hold; empty if
	// all did.
	Broken string `json:"broken,omitempty"`
}

// Sound tells that nothing went wrong.
func (r *Result) Sound() bool { return r.Check.Sound() && r.Broken == "" }

// Param is a parameter that a scenario ran with, or a figure that it tells.
type Param struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// WriteTable writes the result for reading.
func (r *Result) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	fmt.Fprintln(table, r.Scenario)
	for _, p := range r.Params {
		row(p.Name, "%v", p.Value)
	}
	row("events", "%d", r.Events)
	row("deliveries", "%d in %.3g s", r.Deliveries, r.Seconds)
	row("throughput", "%.0f events/s, %.0f deliveries/s", r.EventsPerSecond, r.DeliveriesPerSecond)
	if r.CPUSeconds > 0 {
		row("cpu", "%.3g s, clients included", r.CPUSeconds)
	}
	if l := r.Latency; l != nil {
		row("latency", "p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms (%d samples)", l.P50, l.P90, l.P99, l.Max, l.Samples)
	}
	row("checked", "%d lost, %d twice, %d out of order, %d sockets cut", r.Lost, r.Twice, r.Disordered, r.Cut)
	if r.CutBecause != "" {
		row("cut because", "%s", r.CutBecause)
	}
	for _, f := range r.Figures {
		row(f.Name, "%v", f.Value)
	}
	if r.Broken != "" {
		row("broken", "%s", r.Broken)
	}
	return table.Flush()
}
