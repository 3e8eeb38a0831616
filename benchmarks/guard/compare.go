package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/report"
)

// compared is what both came to in a scenario: deliveries per second of CPU time, pair by pair.
type compared struct {
	scenario    string
	before, now []float64
}

// ratios are those of the pairs: above 1 the working tree is faster.
func (c *compared) ratios() *report.Spread {
	all := make([]float64, len(c.now))
	for i := range all {
		all[i] = c.now[i] / c.before[i]
	}
	return report.SpreadOf(all)
}

// compare measures all scenarios in turns, both ways round. measure runs one with the program
// of the working tree, or with the other.
func (o *options) compare(scenarios []*benchmarks.Bulk, measure func(s *benchmarks.Bulk, isNow bool) (report.Result, error), progress io.Writer) ([]compared, error) {
	all := make([]compared, len(scenarios))
	for pair := range o.Pairs {
		for i, s := range scenarios {
			c := &all[i]
			c.scenario = s.Name()
			for turn := range 2 {
				isNow := (pair+turn)%2 == 1
				r, err := measure(s, isNow)
				switch {
				case err != nil:
					return nil, fmt.Errorf("%s: %w", c.scenario, err)
				case !r.Sound():
					return nil, fmt.Errorf("%s is not sound: %+v %s", c.scenario, r.Check, r.Broken)
				case r.DeliveriesPerCPUSecond <= 0:
					return nil, fmt.Errorf("%s: this system does not tell what a process uses, and rates by the clock say too little", c.scenario)
				}
				if isNow {
					c.now = append(c.now, r.DeliveriesPerCPUSecond)
				} else {
					c.before = append(c.before, r.DeliveriesPerCPUSecond)
				}
			}
			fmt.Fprintf(progress, "%d/%d %s: %.3f\n", pair+1, o.Pairs, c.scenario, c.now[pair]/c.before[pair])
		}
	}
	return all, nil
}

// judge tells what came of it, and fails where it is slower.
func (o *options) judge(all []compared, out io.Writer) error {
	var slower []string
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "scenario\tbefore\tnow\tratio\t")
	for _, c := range all {
		ratio, outcome := c.ratios(), "no difference is seen"
		switch {
		case ratio.High < 1 && ratio.Mid < 1-o.Tolerance:
			outcome = "SLOWER"
			slower = append(slower, c.scenario)
		case ratio.High < 1:
			outcome = "slower, within the tolerance"
		case ratio.Low > 1:
			outcome = "faster"
		}
		fmt.Fprintf(table, "%s\t%.4g\t%.4g\t%s\t%s\n", c.scenario, report.Median(c.before), report.Median(c.now), ratio, outcome)
	}
	err := table.Flush()
	if len(slower) > 0 {
		err = errors.Join(err, fmt.Errorf("slower than before: %s; where a slower one is meant, CHANGELOG.md says so", strings.Join(slower, ", ")))
	}
	return err
}
