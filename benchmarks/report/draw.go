package report

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Draw draws each result that there is something to see of into a folder:
// throughput over time, and latency by percentile. It returns the names of the
// files.
func Draw(folder string, results []Result) (files []string, err error) {
	seen := map[string]int{}
	for i := range results {
		r := &results[i]
		var chart Chart
		if panel, ok := r.overTime(); ok {
			chart = append(chart, panel)
		}
		if panel, ok := byPercentile(r.Scenario+", "+r.Server, "latency", r.Latency); ok {
			chart = append(chart, panel)
		}
		if panel, ok := byPercentile(r.Scenario+", "+r.Server, "joining", r.Joins); ok && r.SocketsPerCPUSecond > 0 {
			chart = append(chart, panel)
		}
		if len(chart) == 0 {
			continue
		}
		name := r.Scenario
		if r.Server == BaselineName {
			name += "-" + BaselineName
		}
		if seen[name]++; seen[name] > 1 {
			name += "-" + strconv.Itoa(seen[name])
		}
		if err := chart.save(folder, name, &files); err != nil {
			return files, err
		}
	}
	return files, nil
}

// save writes a chart to a file, and adds the file's name.
func (c Chart) save(folder, name string, files *[]string) error {
	var svg bytes.Buffer
	if err := c.WriteSVG(&svg); err != nil {
		return err
	}
	path := filepath.Join(folder, name+".svg")
	*files = append(*files, path)
	return os.WriteFile(path, svg.Bytes(), 0o644)
}

// mostLabels is how many seconds are labelled at most.
const mostLabels = 10

// overTime is the throughput, sample by sample.
func (r *Result) overTime() (Panel, bool) {
	const least = 5 // samples that make a curve
	if len(r.Series) < least || r.EventsPerSecond == 0 {
		return Panel{}, false
	}
	panel := Panel{Title: fmt.Sprintf("%s, %s: throughput", r.Scenario, r.Server), X: "seconds", Y: "deliveries/s", Default: -1, Linear: true}
	var points []Point
	last := Sample{}
	step := 1.0 // between labels, in seconds
	for r.Seconds/step > mostLabels {
		step *= 5
	}
	for i, s := range r.Series {
		if i == len(r.Series)-1 {
			break // it is cut short
		}
		rate := float64(s.Deliveries-last.Deliveries) / (s.Seconds - last.Seconds)
		label := ""
		if whole := math.Floor(s.Seconds / step); whole > math.Floor(last.Seconds/step) {
			label = strconv.Itoa(int(whole * step))
		}
		panel.Settings = append(panel.Settings, label)
		points = append(points, Point{rate, rate, rate})
		last = s
	}
	panel.Curves = []Curve{{Points: points}}
	return panel, true
}

// byPercentile is how long the quickest half took, and so on.
func byPercentile(title, what string, p *swarm.Percentiles) (Panel, bool) {
	if p == nil {
		return Panel{}, false
	}
	var points []Point
	for _, v := range []swarm.Milliseconds{p.P50, p.P90, p.P99, p.P999, p.Max} {
		points = append(points, Point{float64(v), float64(v), float64(v)})
	}
	return Panel{
		Title: title + ": " + what, X: "percentile", Y: "ms",
		Settings: []string{"p50", "p90", "p99", "p99.9", "max"}, Default: -1,
		Curves: []Curve{{Points: points}},
	}, true
}

// DrawSweep draws what a delivery costs, and how long it takes where that was
// measured, against a setting. results are in the order of the values, as many
// for each: one, or one for each server.
func DrawSweep(folder, setting string, values []string, results []Result) (files []string, err error) {
	if len(values) == 0 || len(results)%len(values) != 0 || len(results) == 0 {
		return nil, fmt.Errorf("benchmarks: %d results of %d values", len(results), len(values))
	}
	each := len(results) / len(values)
	cost := Panel{Title: results[0].Scenario + ": CPU time of the server", X: setting, Y: "µs a delivery", Settings: values, Default: -1}
	latency := Panel{Title: results[0].Scenario + ": latency", X: setting, Y: "ms", Settings: values, Default: -1}
	for server := each - 1; server >= 0; server-- { // the floor comes before what stands on it
		curve := Curve{Name: results[server].Server}
		p50, p99 := Curve{Name: "p50"}, Curve{Name: "p99"}
		for i := server; i < len(results); i += each {
			r := &results[i]
			curve.Points = append(curve.Points, Point{r.Cost(), r.Cost(), r.Cost()})
			if l := r.Latency; l != nil {
				p50.Points = append(p50.Points, Point{float64(l.P50), float64(l.P50), float64(l.P50)})
				p99.Points = append(p99.Points, Point{float64(l.P99), float64(l.P99), float64(l.P99)})
			}
		}
		cost.Curves = append(cost.Curves, curve)
		if len(p50.Points) == len(values) {
			latency.Curves = append(latency.Curves, p50, p99)
		}
	}
	chart := Chart{cost}
	if len(latency.Curves) > 0 {
		chart = append(chart, latency)
	}
	err = chart.save(folder, results[0].Scenario+"-"+setting, &files)
	return files, err
}
