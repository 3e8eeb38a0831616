package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// options are the flags of the command.
type options struct {
	DatabaseURL string        `env:"DATABASE_URL" help:"Postgres to measure on, in schemas that are made for it and removed. Without: the embedded store."`
	Only        []string      `placeholder:"FLAG" help:"Only these flags, such as max-demand,lanes. Results of others stay."`
	Rounds      int           `default:"3" help:"How often each value is measured."`
	Topics      int           `default:"100" help:"Topics, each watched by a socket."`
	Events      int64         `default:"100000" help:"Events of a backlog; fewer where a value makes it slow."`
	Payload     int           `default:"128" help:"Bytes of an event's payload."`
	Rate        float64       `default:"500" help:"Inserts per second where latency is measured."`
	Duration    time.Duration `default:"1s" help:"How long each time, the first fifth to warm up."`
	Out         string        `default:"docs/tuning" help:"Folder for results.json and the pictures."`
	Redraw      bool          `help:"Make pictures and table of the results that are there."`
}

// sweep runs the plan. What was lost, doubled or disordered is no reason to
// stop, and told at the end.
func (o *options) sweep(ctx context.Context, knobs []knob, progress io.Writer) (all *results, unsound, err error) {
	store, err := o.store(ctx)
	if err != nil {
		return nil, nil, err
	}
	all = o.others(knobs)
	all.Machine = machine{runtime.GOMAXPROCS(0), runtime.GOOS + "/" + runtime.GOARCH, runtime.Version(), store}
	all.Command = o.command()
	steps := plan(knobs, o.Rounds)
	for i, s := range steps {
		result, err := o.scenario(s).Run(ctx, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("--%s=%s, %s: %w", s.knob.flag, s.setting.label, s.measure, err)
		}
		all.Runs = append(all.Runs, run{s.round, s.knob.flag, s.setting.label, s.measure, result})
		fmt.Fprintf(progress, "%d/%d  --%s=%s  %s\n", i+1, len(steps), s.knob.flag, s.setting.label, figures(s.measure, &result))
		if !result.Sound() {
			unsound = errors.Join(unsound, fmt.Errorf("--%s=%s, %s, round %d: %+v", s.knob.flag, s.setting.label, s.measure, s.round, result.Check))
		}
		if i+1 == len(steps) || steps[i+1].round > s.round {
			if err := all.write(o.results()); err != nil {
				return nil, nil, err
			}
		}
	}
	return all, unsound, nil
}

// Rare events take longer to be enough of them.
const rareRate, rareTimes = 3, 6

// others are the results there are of other flags than those to measure: a
// flag's values are compared with each other only.
func (o *options) others(knobs []knob) *results {
	there, err := readResults(o.results())
	if err != nil || len(o.Only) == 0 {
		return &results{}
	}
	there.Runs = slices.DeleteFunc(there.Runs, func(r run) bool {
		return slices.ContainsFunc(knobs, func(k knob) bool { return k.flag == r.Flag })
	})
	return there
}

func figures(m measure, r *report.Result) string {
	if m == throughput {
		return fmt.Sprintf("%.0f events/s", r.EventsPerSecond)
	}
	p := percentiles(r)
	return fmt.Sprintf("%s p50 %.2f ms, p90 %.2f ms, p99 %.2f ms", m, p.P50, p.P90, p.P99)
}

// scenario is what a step runs.
func (o *options) scenario(s step) benchmarks.Scenario {
	config := sluice.DefaultConfig()
	config.DatabaseURL = o.DatabaseURL
	s.setting.apply(&config)
	// Its mailboxes hold all that is due: this is about the way there.
	config.MailboxSize, config.MailboxBytes = int(o.Events), 1<<30
	way := target.Append
	if o.DatabaseURL != "" {
		way = target.Insert
	}
	base := benchmarks.Base{
		Called: string(s.measure),
		Server: &target.InProcess{Config: config},
		By:     way,
		Load:   swarm.Load{Topics: o.Topics, Sockets: o.Topics, Payload: o.Payload},
	}
	if s.measure == throughput {
		events := o.Events
		if s.setting.events > 0 {
			events = min(events, s.setting.events)
		}
		return &benchmarks.Backlog{Base: base, Events: events, Sequenced: true}
	}
	steady := &benchmarks.Steady{Base: base, Rate: o.Rate, For: o.Duration, WarmUp: o.Duration / 5}
	if s.measure == unwoken {
		// Who polls looks again soon after there was something: only what
		// comes rarely, and at no regular distance, meets the interval.
		steady.Unwoken, steady.Uneven = true, true
		steady.Rate, steady.For = rareRate, rareTimes*o.Duration
	}
	return steady
}

// store names what is measured on.
func (o *options) store(ctx context.Context) (string, error) {
	if o.DatabaseURL == "" {
		return "embedded", nil
	}
	conn, err := pgx.Connect(ctx, o.DatabaseURL)
	if err != nil {
		return "", fmt.Errorf("connect to --database-url: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version, commit string
	err = conn.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1), current_setting('synchronous_commit')`).Scan(&version, &commit)
	if err != nil {
		return "", fmt.Errorf("ask for the version: %w", err)
	}
	return fmt.Sprintf("PostgreSQL %s on the same machine, synchronous_commit %s", version, commit), nil
}

func (o *options) results() string { return filepath.Join(o.Out, "results.json") }

// command is how to run the sweep again, wherever the database is.
func (o *options) command() string {
	command := "go run ./benchmarks/tuning"
	if o.DatabaseURL != "" {
		command += " --database-url postgres://…"
	}
	return fmt.Sprintf("%s --rounds %d --topics %d --events %d --payload %d --rate %g --duration %v",
		command, o.Rounds, o.Topics, o.Events, o.Payload, o.Rate, o.Duration)
}

// chosen are the flags to measure, and what of them. Nobody wakes the embedded
// store when another program writes to it; its own writers need no waking.
func (o *options) chosen() (chosen []knob, err error) {
	all := knobs()
	for _, flag := range o.Only {
		if !slices.ContainsFunc(all, func(k knob) bool { return k.flag == flag }) {
			return nil, fmt.Errorf("--only=%s: that is no flag of the stages", flag)
		}
	}
	for _, k := range all {
		if len(o.Only) > 0 && !slices.Contains(o.Only, k.flag) {
			continue
		}
		if o.DatabaseURL == "" && !o.Redraw {
			k.measures = slices.DeleteFunc(k.measures, func(m measure) bool { return m == unwoken })
		}
		chosen = append(chosen, k)
	}
	return chosen, nil
}
