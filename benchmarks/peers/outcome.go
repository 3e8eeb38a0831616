package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// outcome is what one server came to in one scenario of one round.
type outcome struct {
	Round  int    `json:"round"` // from 1
	Trial  string `json:"trial"`
	Server string `json:"server"`
	// Failed is why there is no result; empty if there is one.
	Failed string        `json:"failed,omitempty"`
	Result report.Result `json:"result"`
}

// measure is a figure that a scenario tells of each server.
type measure struct {
	name    string // for a head of a column
	unit    string // for an axis
	smaller bool   // is better
	of      func(*report.Result) float64
}

// summary is what a measure came to for one server, over all rounds.
type summary struct {
	Low, Median, High float64
	// Better is how many times better each of the references is: the median over
	// the rounds of the ratio within the round, so that a machine whose speed
	// drifts does no harm. 0 where there is nothing to compare.
	Better []float64
}

// summarize sums up a measure of a trial. ok is false without an outcome.
func summarize(all []outcome, m *measure, trial, server string) (s summary, ok bool) {
	mine := values(all, m, trial, server)
	if len(mine) == 0 {
		return summary{}, false
	}
	figures := slices.Collect(maps.Values(mine))
	s = summary{Low: slices.Min(figures), Median: median(figures), High: slices.Max(figures)}
	for _, reference := range references {
		better := 0.0
		if server != reference {
			better = median(ratios(mine, values(all, m, trial, reference), m.smaller))
		}
		s.Better = append(s.Better, better)
	}
	return s, true
}

// ratios are how many times better the reference is, in each round that has both.
func ratios(mine, reference map[int]float64, smaller bool) (all []float64) {
	for round, v := range mine {
		r := reference[round]
		if r <= 0 || v <= 0 {
			continue
		}
		if smaller {
			v, r = r, v
		}
		all = append(all, r/v)
	}
	return all
}

// values are a measure's by round.
func values(all []outcome, m *measure, trial, server string) map[int]float64 {
	found := make(map[int]float64)
	for i := range all {
		if o := &all[i]; o.Trial == trial && o.Server == server && o.Failed == "" {
			found[o.Round] = m.of(&o.Result)
		}
	}
	return found
}

// checked adds up what went wrong over all rounds.
func checked(all []outcome, trial, server string) (sum swarm.Check, because string) {
	for i := range all {
		if o := &all[i]; o.Trial == trial && o.Server == server {
			sum = sum.Plus(o.Result.Check)
			if because == "" {
				because = o.Result.CutBecause
			}
		}
	}
	return sum, because
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// short writes a number to three digits, as people read it: 744 k, 3.21 M.
func short(v float64) string {
	unit := ""
	switch {
	case v >= 999.5e3:
		v, unit = v/1e6, " M"
	case v >= 9995: // 4-digit numbers stand as they are
		v, unit = v/1e3, " k"
	}
	switch {
	case v >= 99.95:
		return fmt.Sprintf("%.0f%s", v, unit)
	case v >= 9.995:
		return fmt.Sprintf("%.1f%s", v, unit)
	}
	return fmt.Sprintf("%.2f%s", v, unit)
}

// times writes a ratio.
func times(ratio float64) string {
	if ratio == 0 {
		return "–"
	}
	return strings.TrimSpace(short(ratio)) + " ×"
}

// round writes a number that has few digits, as axes do: 500 k, 1.5 M.
func round(v float64) string {
	unit := ""
	switch {
	case v >= 1e6:
		v, unit = v/1e6, " M"
	case v >= 1e4:
		v, unit = v/1e3, " k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64) + unit
}
