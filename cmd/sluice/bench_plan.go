package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/baseline"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// chaosScenario has flags of its own.
const chaosScenario = "chaos"

// Names that are no scenario's.
const (
	allScenarios  = "all"
	floorScenario = "floor"
	// chaosNodeScenario is not one either: it runs a node of chaos.
	chaosNodeScenario = "chaos-node"
)

// benchPlan is the runs that a command line asks for, in order.
type benchPlan struct {
	runs   []benchRun
	sweep  string // the setting that they differ in; empty: they do not
	rounds int    // how often all of them are run
}

// benchRun is one of them.
type benchRun struct {
	scenario benchmarks.Scenario
	label    string // that progress tells it by; empty for a run alone
	value    string // of the setting that is swept
	floor    bool   // it measures the floor of the run that follows
}

// plan decides what to run.
func (b *benchCmd) plan(log io.Writer) (p *benchPlan, err error) {
	p = &benchPlan{rounds: 1}
	if b.Repeat != nil {
		if p.rounds = int(*b.Repeat); p.rounds < 1 {
			return nil, &usageError{"--repeat", fmt.Sprint(*b.Repeat), "a number from 1"}
		}
	}
	switch {
	case b.Scenario == allScenarios && b.Sweep != "":
		return nil, &usageError{"--sweep", b.Sweep, "nothing with all: sweep one scenario"}
	case b.Scenario == allScenarios:
		for _, s := range benchmarks.Scenarios() {
			if _, ok := s.(benchmarks.ServerScenario); ok {
				if err := b.add(p, s, log, s.Name(), ""); err != nil {
					return nil, err
				}
			}
		}
		return p, nil
	case b.Sweep != "":
		return p, b.addSweep(p, log)
	}
	scenario, err := b.find()
	if err != nil {
		return nil, err
	}
	return p, b.add(p, scenario, log, "", "")
}

// addSweep adds a run for each value of a setting.
func (b *benchCmd) addSweep(p *benchPlan, log io.Writer) error {
	sweep, err := b.sweep()
	if err != nil {
		return err
	}
	p.sweep = sweep.setting
	for _, value := range sweep.values {
		scenario, err := b.find() // a fresh one
		if err != nil {
			return err
		}
		var set benchmarks.Setter
		if onServer, ok := scenario.(benchmarks.ServerScenario); ok {
			set = onServer.Settings().Numbers[sweep.setting]
		}
		if set == nil {
			return &usageError{"--sweep", b.Sweep, "a setting that the scenario " + b.Scenario + " has a use for"}
		}
		set(value)
		text := strconv.FormatInt(value, 10)
		if err := b.add(p, scenario, log, sweep.setting+"="+text, text); err != nil {
			return err
		}
	}
	return nil
}

// add adds a scenario, behind the same one on the floor where that is asked for
// and there is one.
func (b *benchCmd) add(p *benchPlan, s benchmarks.Scenario, log io.Writer, label, value string) error {
	if err := b.configure(s, log); err != nil {
		return err
	}
	if b.Floor {
		floor, err := b.floor(s, log)
		if err != nil {
			return err
		}
		if floor != nil {
			p.runs = append(p.runs, benchRun{floor, label + " floor", value, true})
		}
	}
	p.runs = append(p.runs, benchRun{s, label, value, false})
	return nil
}

// floor is a scenario on the floor; nil where there is none among all.
func (b *benchCmd) floor(s benchmarks.Scenario, log io.Writer) (benchmarks.Scenario, error) {
	program, err := executable()
	if err != nil {
		return nil, err
	}
	switch s := s.(type) {
	case *benchmarks.Bulk:
		floor := *s
		floor.Server, floor.By = baseline.New(program, b.pinned(), log), target.Broadcast
		return &floor, nil
	case *benchmarks.Steady:
		floor := *s
		switch s.By {
		case target.Broadcast:
			floor.Server = baseline.New(program, b.pinned(), log)
			return &floor, nil
		case target.Insert:
			floor.Server = &baseline.Rows{Program: program, DatabaseURL: b.DatabaseURL, Pinned: b.pinned(), Log: log}
			return &floor, nil
		}
	}
	if b.Scenario == allScenarios {
		return nil, nil
	}
	return nil, &usageError{"--floor", "true", "true for fanout, single, topics and channels, and for steady and row by broadcast or, on Postgres, by sql"}
}

// run runs everything, round by round.
func (p *benchPlan) run(ctx context.Context, showing *benchProgress) (results []report.Result, err error) {
	defer showing.end()
	for range p.rounds {
		for i, run := range p.runs {
			showing.run(run.label, len(results), p.rounds*len(p.runs))
			r, err := run.scenario.Run(ctx, showing.show)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", run.scenario.Name(), err)
			}
			if i > 0 && p.runs[i-1].floor {
				r.AgainstFloor(&results[len(results)-1])
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// typical is the median run of each.
func (p *benchPlan) typical(results []report.Result) (typical []report.Result) {
	for i := range p.runs {
		var same []report.Result
		for j := i; j < len(results); j += len(p.runs) {
			same = append(same, results[j])
		}
		typical = append(typical, report.Typical(same))
	}
	return typical
}

// report writes a result alone as it is, and many as a table.
func (p *benchPlan) report(w io.Writer, results []report.Result) error {
	if len(results) == 1 {
		return results[0].WriteTable(w)
	}
	if p.sweep != "" {
		return report.WriteSweep(w, p.sweep, p.values(), results)
	}
	return report.WriteSummary(w, results)
}

func (p *benchPlan) values() (values []string) {
	for _, run := range p.runs {
		values = append(values, run.value)
	}
	return values
}

// write writes the results to their file, if there is one: a result alone as it
// is, many as a list.
func (b *benchCmd) write(results []report.Result) error {
	if b.JSON == "" {
		return nil
	}
	var all any = results
	if len(results) == 1 {
		all = &results[0]
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	return os.WriteFile(b.JSON, append(text, '\n'), 0o644)
}

// draw draws pictures, if they are asked for.
func (b *benchCmd) draw(w io.Writer, p *benchPlan, results []report.Result) (err error) {
	if b.Plots == "" {
		return nil
	}
	if err := os.MkdirAll(b.Plots, 0o755); err != nil {
		return fmt.Errorf("make the folder for the pictures: %w", err)
	}
	var files []string
	if p.sweep != "" {
		files, err = report.DrawSweep(b.Plots, p.sweep, slices.Compact(p.values()), results)
	} else {
		files, err = report.Draw(b.Plots, results)
	}
	if err == nil {
		_, err = fmt.Fprintf(w, "%d pictures in %s\n", len(files), b.Plots)
	}
	return err
}
