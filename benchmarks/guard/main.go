package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// options are the flags of the command.
type options struct {
	Base      string        `placeholder:"COMMIT" help:"Commit, branch or tag to compare the working tree with. Without: the newest tag that it comes after."`
	Pairs     int           `default:"6" help:"How often both are measured, in turns. Of fewer than 6 it is not said how sure the outcome is."`
	For       time.Duration `default:"3s" help:"How long each time."`
	Only      []string      `placeholder:"SCENARIO" help:"Only these of fanout, single, topics and channels."`
	Tolerance float64       `default:"0.03" help:"By what share the median may be slower."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	kong.Parse(&o, kong.Name("guard"), kong.Description(
		"Tells whether the working tree has become slower since a commit, and fails if it has. It takes some minutes; the machine should have nothing else to do."))
	if err := o.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "guard:", err)
		stop()
		os.Exit(1)
	}
}

// scenarios are what can be measured.
func scenarios() []*benchmarks.Bulk {
	return []*benchmarks.Bulk{benchmarks.DefaultFanout(), benchmarks.DefaultSingle(), benchmarks.DefaultTopics(), benchmarks.DefaultChannels()}
}

// run builds both programs, measures them, and tells what came of it.
func (o *options) run(ctx context.Context, out, progress io.Writer) error {
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "sluice-guard-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	before, now := filepath.Join(folder, "before"), filepath.Join(folder, "now")
	commit, err := buildCommit(ctx, o.Base, "./cmd/sluice", before)
	if err != nil {
		return err
	}
	if err := build(ctx, ".", "./cmd/sluice", now); err != nil {
		return err
	}
	fmt.Fprintf(progress, "the working tree beside %s\n", commit)
	all, err := o.compare(chosen, func(s *benchmarks.Bulk, isNow bool) (report.Result, error) {
		program := before
		if isNow {
			program = now
		}
		s.For = o.For
		s.Server = &target.Sluice{Program: program, Pinned: runtime.NumCPU() > 1}
		return s.Run(ctx, nil)
	}, progress)
	if err != nil {
		return err
	}
	return o.judge(all, out)
}

// chosen are the scenarios that are asked for.
func (o *options) chosen() ([]*benchmarks.Bulk, error) {
	if o.Pairs < 1 {
		return nil, fmt.Errorf("--pairs is %d: want a number from 1", o.Pairs)
	}
	if o.For <= 0 {
		return nil, fmt.Errorf("--for is %v: want a time, such as 3s", o.For)
	}
	all := scenarios()
	for _, name := range o.Only {
		if !slices.ContainsFunc(all, func(s *benchmarks.Bulk) bool { return s.Name() == name }) {
			return nil, fmt.Errorf("--only is %q: want some of fanout, single, topics and channels", name)
		}
	}
	return slices.DeleteFunc(all, func(s *benchmarks.Bulk) bool { return len(o.Only) > 0 && !slices.Contains(o.Only, s.Name()) }), nil
}
