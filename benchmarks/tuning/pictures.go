package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/sluicehq/sluice/benchmarks/report"
)

// draw makes a picture for each flag, in folder.
func (r *results) draw(knobs []knob, folder string) error {
	for i := range knobs {
		knob := &knobs[i]
		file, err := os.Create(filepath.Join(folder, knob.flag+".svg"))
		if err != nil {
			return err
		}
		err = r.chart(knob).WriteSVG(file)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return fmt.Errorf("draw --%s: %w", knob.flag, err)
		}
	}
	return nil
}

// chart has a panel for each measure.
func (r *results) chart(k *knob) (chart report.Chart) {
	for _, m := range k.measures {
		panel := report.Panel{
			Title:   map[measure]string{throughput: "Throughput", latency: "Latency", unwoken: "Latency of rare events, wake-ups lost"}[m],
			X:       "--" + k.flag,
			Y:       "ms, insert to receive",
			Default: slices.IndexFunc(k.settings, func(s setting) bool { return s.label == k.standard }),
		}
		if k.unit != "" {
			panel.X += " (" + k.unit + ")"
		}
		for _, s := range k.settings {
			panel.Settings = append(panel.Settings, s.label)
		}
		switch m {
		case throughput:
			panel.Y = "events/s"
			panel.Curves = []report.Curve{r.curve(k, m, "events/s", eventsPerSecond)}
		case latency:
			panel.Curves = []report.Curve{r.curve(k, m, "p50", p50), r.curve(k, m, "p99", p99)}
		case unwoken: // rare events are too few for more
			panel.Curves = []report.Curve{r.curve(k, m, "p50", p50), r.curve(k, m, "p90", p90)}
		}
		chart = append(chart, panel)
	}
	return chart
}

func (r *results) curve(k *knob, m measure, name string, figure func(*report.Result) float64) report.Curve {
	c := report.Curve{Name: name}
	for _, s := range k.settings {
		c.Points = append(c.Points, point(r.of(k.flag, s.label, m, figure)))
	}
	return c
}

// writeTable prints the medians: throughput as a multiple of that with the
// default, in the same round, and latency.
func (r *results) writeTable(w io.Writer, knobs []knob) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range knobs {
		k := &knobs[i]
		fmt.Fprintf(table, "--%s\n", k.flag)
		for _, s := range k.settings {
			fmt.Fprintf(table, "  %s", s.label)
			for _, m := range k.measures {
				if m == throughput {
					values := r.of(k.flag, s.label, m, eventsPerSecond)
					x := point(ratios(values, r.of(k.flag, k.standard, m, eventsPerSecond)))
					fmt.Fprintf(table, "\t%.0f events/s\t× %.3f (%.3f to %.3f)", point(values).Mid, x.Mid, x.Low, x.High)
					continue
				}
				fmt.Fprintf(table, "\t%s p50 %.2f ms\tp90 %.2f ms\tp99 %.2f ms", m,
					point(r.of(k.flag, s.label, m, p50)).Mid, point(r.of(k.flag, s.label, m, p90)).Mid, point(r.of(k.flag, s.label, m, p99)).Mid)
			}
			fmt.Fprintln(table)
		}
	}
	return table.Flush()
}
