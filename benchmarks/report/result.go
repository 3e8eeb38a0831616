package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// BaselineName is what results call the least server there can be.
const BaselineName = "floor"

// Result is what a run came to. Its JSON is the raw form; [Result.WriteTable]
// is for reading.
type Result struct {
	Scenario string  `json:"scenario"`
	Server   string  `json:"server,omitempty"`
	Params   []Param `json:"params"`

	Events     int64 `json:"events"`     // published
	Deliveries int64 `json:"deliveries"` // received by clients

	// Seconds count from the beginning of the measurement to the last delivery.
	Seconds float64 `json:"seconds"`
	// The rates are 0 in scenarios that are not about events.
	EventsPerSecond     float64 `json:"events_per_second"`
	DeliveriesPerSecond float64 `json:"deliveries_per_second"`
	// CPUSeconds is what the server's process used meanwhile; the database is
	// not in it. Zero where the system does not tell. Shared says that the
	// clients ran in the same process: then there is no rate by CPU time.
	CPUSeconds             float64 `json:"cpu_seconds,omitempty"`
	Shared                 bool    `json:"cpu_shared,omitempty"`
	ClientCPUSeconds       float64 `json:"client_cpu_seconds,omitempty"` // of the clients' process
	EventsPerCPUSecond     float64 `json:"events_per_cpu_second,omitempty"`
	DeliveriesPerCPUSecond float64 `json:"deliveries_per_cpu_second,omitempty"`
	// OfFloor is the ratio to the floor, see AgainstFloor, where that was measured
	// right before.
	OfFloor *Spread `json:"of_floor,omitempty"`
	// Ratio compares two ways of the same, pair by pair, where the scenario does.
	Ratio *Spread `json:"ratio,omitempty"`
	// Memory is what the server's process had resident at the end, in bytes.
	Memory int64 `json:"memory_bytes,omitempty"`
	// BytesPerSocket and SocketsPerCPUSecond stand where the scenario is about
	// sockets rather than events.
	BytesPerSocket      float64 `json:"bytes_per_socket,omitempty"`
	SocketsPerCPUSecond float64 `json:"sockets_per_cpu_second,omitempty"`

	// Latency, from the beginning of publishing until a client has the event,
	// stands where the scenario measures it.
	Latency *swarm.Percentiles `json:"latency_ms,omitempty"`
	// Joins is from the beginning of a connection until its topics are joined.
	Joins *swarm.Percentiles `json:"joins_ms,omitempty"`

	swarm.Check
	// CutBecause is why the first of the sockets that were cut ended.
	CutBecause string `json:"cut_because,omitempty"`

	// Figures are what else the scenario tells.
	Figures []Param `json:"figures,omitempty"`
	// Series is how it went.
	Series []Sample `json:"series,omitempty"`
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

// Sample is what there was at a time of a measurement.
type Sample struct {
	Seconds    float64 `json:"seconds"`    // since it began
	Deliveries int64   `json:"deliveries"` // so far
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
}

// Add adds a figure.
func (r *Result) Add(name string, value any) { r.Figures = append(r.Figures, Param{name, value}) }

// Addf adds a figure that is a text.
func (r *Result) Addf(name, format string, values ...any) {
	r.Add(name, fmt.Sprintf(format, values...))
}

// WriteTable writes the result for reading.
func (r *Result) WriteTable(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, values ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	fmt.Fprintln(table, r.Scenario)
	if r.Server != "" {
		row("server", "%s", r.Server)
	}
	for _, p := range r.Params {
		row(p.Name, "%v", p.Value)
	}
	if r.Events > 0 {
		row("events", "%d", r.Events)
		row("deliveries", "%d in %.3g s", r.Deliveries, r.Seconds)
	}
	if r.EventsPerSecond > 0 {
		row("throughput", "%.0f events/s, %.0f deliveries/s", r.EventsPerSecond, r.DeliveriesPerSecond)
	}
	if r.CPUSeconds > 0 && r.Shared {
		row("cpu", "%.3g s, clients included", r.CPUSeconds)
	} else if r.ClientCPUSeconds > 0 {
		row("cpu", "%.3g s of the server, %.3g s of the clients", r.CPUSeconds, r.ClientCPUSeconds)
	}
	if r.DeliveriesPerCPUSecond > 0 {
		row("per cpu second", "%.0f events, %.0f deliveries", r.EventsPerCPUSecond, r.DeliveriesPerCPUSecond)
	}
	writePercentiles(row, "latency", r.Latency)
	writePercentiles(row, "joining", r.Joins)
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

func writePercentiles(row func(name, format string, values ...any), name string, p *swarm.Percentiles) {
	if p != nil {
		row(name, "p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.2f ms (%d samples)", p.P50, p.P90, p.P99, p.Max, p.Samples)
	}
}
