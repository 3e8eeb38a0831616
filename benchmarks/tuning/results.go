package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// results is what is kept of a sweep.
type results struct {
	Machine machine `json:"machine"`
	Command string  `json:"command"`
	Runs    []run   `json:"runs"`
}

// machine is what figures depend on, without saying whose it is.
type machine struct {
	Cores  int    `json:"cores"`
	System string `json:"system"`
	Go     string `json:"go"`
	Store  string `json:"store"`
}

// run is one run, and what came of it.
type run struct {
	Round   int           `json:"round"`
	Flag    string        `json:"flag"`
	Value   string        `json:"value"`
	Measure measure       `json:"measure"`
	Result  report.Result `json:"result"`
}

// write keeps the results in a file, one run a line.
func (r *results) write(path string) error {
	head, err := json.Marshal(r.Machine)
	if err != nil {
		return err
	}
	command, err := json.Marshal(r.Command)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "{\n\"machine\": %s,\n\"command\": %s,\n\"runs\": [", head, command)
	for i := range r.Runs {
		line, err := json.Marshal(&r.Runs[i])
		if err != nil {
			return err
		}
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, "\n%s", line)
	}
	text.WriteString("\n]\n}\n")
	return os.WriteFile(path, text.Bytes(), 0o644)
}

func readResults(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &r, nil
}

// of lists what a figure came to, round by round.
func (r *results) of(flag, value string, m measure, figure func(*report.Result) float64) (values []float64) {
	for i := range r.Runs {
		if run := &r.Runs[i]; run.Flag == flag && run.Value == value && run.Measure == m {
			values = append(values, figure(&run.Result))
		}
	}
	return values
}

// measured are the flags of knobs that there are results of.
func (r *results) measured(knobs []knob) (found []knob) {
	for _, k := range knobs {
		k.measures = slices.DeleteFunc(k.measures, func(m measure) bool {
			return len(r.of(k.flag, k.standard, m, eventsPerSecond)) == 0
		})
		if len(k.measures) > 0 {
			found = append(found, k)
		}
	}
	return found
}

// The figures that are drawn.
func eventsPerSecond(r *report.Result) float64 { return r.EventsPerSecond }
func p50(r *report.Result) float64             { return float64(percentiles(r).P50) }
func p90(r *report.Result) float64             { return float64(percentiles(r).P90) }
func p99(r *report.Result) float64             { return float64(percentiles(r).P99) }

func percentiles(r *report.Result) swarm.Percentiles {
	if r.Latency == nil {
		return swarm.Percentiles{}
	}
	return *r.Latency
}

// point is the median of some values, with their range.
func point(values []float64) report.Point {
	if len(values) == 0 {
		return report.Point{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return report.Point{Low: sorted[0], Mid: median(sorted), High: sorted[len(sorted)-1]}
}

// median is the middle one of sorted values, or between the two there.
func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios divides values by those of the same rounds: what the machine did to
// both drops out.
func ratios(values, by []float64) (quotients []float64) {
	for i := range min(len(values), len(by)) {
		if by[i] > 0 {
			quotients = append(quotients, values[i]/by[i])
		}
	}
	return quotients
}
