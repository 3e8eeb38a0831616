package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Headline is the figure that a result is about.
func (r *Result) Headline() string {
	switch {
	case r.BytesPerSocket > 0:
		return fmt.Sprintf("%.2f KB a socket", r.BytesPerSocket/1000)
	case r.SocketsPerCPUSecond > 0:
		return fmt.Sprintf("%.0f sockets joined per CPU second", r.SocketsPerCPUSecond)
	case r.Ratio != nil:
		return fmt.Sprintf("ratio %v", r.Ratio)
	case r.Latency != nil:
		return fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", r.Latency.P50, r.Latency.P99)
	case r.DeliveriesPerCPUSecond > 0:
		return fmt.Sprintf("%.0f deliveries per CPU second", r.DeliveriesPerCPUSecond)
	}
	return fmt.Sprintf("%.0f deliveries per second", r.DeliveriesPerSecond)
}

// AgainstFloor tells the ratio to the same on the floor: of median latencies
// where that is what was measured, where less is better, and of deliveries per
// CPU second elsewhere, where more is.
func (r *Result) AgainstFloor(floor *Result) {
	if r.Latency != nil && floor.Latency != nil && floor.Latency.P50 > 0 {
		r.OfFloor = SpreadOf([]float64{float64(r.Latency.P50 / floor.Latency.P50)})
		return
	}
	if floor.DeliveriesPerCPUSecond <= 0 || r.DeliveriesPerCPUSecond <= 0 {
		return
	}
	r.OfFloor = SpreadOf([]float64{r.DeliveriesPerCPUSecond / floor.DeliveriesPerCPUSecond})
}

// Typical is the median one of several runs of the same, with what went wrong in
// all of them, and with the spread of their ratios to the floor.
func Typical(runs []Result) Result {
	sorted := slices.Clone(runs)
	slices.SortStableFunc(sorted, func(a, b Result) int { return cmp.Compare(a.merit(), b.merit()) })
	r := sorted[len(sorted)/2]
	r.Check = swarm.Check{}
	var ofFloor []float64
	for i := range runs {
		r.Check = r.Plus(runs[i].Check)
		if runs[i].OfFloor != nil {
			ofFloor = append(ofFloor, runs[i].OfFloor.Mid)
		}
	}
	if len(ofFloor) == len(runs) {
		r.OfFloor = SpreadOf(ofFloor)
	}
	return r
}

// merit orders results of the same by the figure that they are about.
func (r *Result) merit() float64 {
	switch {
	case r.BytesPerSocket > 0:
		return -r.BytesPerSocket
	case r.SocketsPerCPUSecond > 0:
		return r.SocketsPerCPUSecond
	case r.Ratio != nil:
		return r.Ratio.Mid
	case r.Latency != nil:
		return -float64(r.Latency.P50)
	case r.DeliveriesPerCPUSecond > 0:
		return r.DeliveriesPerCPUSecond
	}
	return r.DeliveriesPerSecond
}

// WriteSummary writes a line for each result.
func WriteSummary(w io.Writer, results []Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "scenario\tserver\tfigure\tof the floor\tlost\ttwice\tout of order\tcut")
	for i := range results {
		r := &results[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\n", r.Scenario, r.Server, r.Headline(), r.ofFloor(), r.Lost, r.Twice, r.Disordered, r.Cut)
	}
	return table.Flush()
}

func (r *Result) ofFloor() string {
	switch {
	case r.OfFloor == nil:
		return ""
	case r.OfFloor.N == 1:
		return fmt.Sprintf("%.2f", r.OfFloor.Mid)
	}
	return r.OfFloor.String()
}

// Cost is what a delivery takes of the server's CPU time, in microseconds; of
// all processes where it cannot be told apart, and of time where nothing can.
func (r *Result) Cost() float64 {
	if r.Deliveries == 0 {
		return 0
	}
	seconds := r.CPUSeconds
	if seconds == 0 {
		seconds = r.Seconds
	}
	return seconds / float64(r.Deliveries) * 1e6
}

// WriteSweep writes a line for each value of a setting.
func WriteSweep(w io.Writer, setting string, values []string, results []Result) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tserver\tµs a delivery\tfigure\tof the floor\tlost\ttwice\tout of order\tcut\n", setting)
	for i := range results {
		r := &results[i]
		fmt.Fprintf(table, "%s\t%s\t%.3f\t%s\t%s\t%d\t%d\t%d\t%d\n", values[i], r.Server, r.Cost(), r.Headline(), r.ofFloor(), r.Lost, r.Twice, r.Disordered, r.Cut)
	}
	return table.Flush()
}
