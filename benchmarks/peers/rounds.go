package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
)

// rounds puts all servers through all trials, again and again: within a round
// and trial they come one right after the other, so that they meet the same
// machine, each as a fresh process. Every other round has them in the reverse
// order, so that nobody is always the first.
type rounds struct {
	count   int
	trials  []*trial
	servers []*contender
	built   *built
	size    *size
	show    *progress
}

// run returns what was measured, all of it unless an error is ctx's.
func (r *rounds) run(ctx context.Context) (all []outcome, err error) {
	total := r.count * r.pairs()
	order := slices.Clone(r.servers)
	for round := 1; round <= r.count; round++ {
		for _, t := range r.trials {
			for _, c := range order {
				if !t.includes(c) {
					continue
				}
				r.show.begin(fmt.Sprintf("%d of %d: %s, round %d, %s", len(all)+1, total, t.name, round, c.Name))
				o := outcome{Round: round, Trial: t.name, Server: c.Name}
				o.Result, err = t.on(c.server(r.built), c.way, r.size).Run(ctx, r.show.tell)
				if ctx.Err() != nil {
					return all, ctx.Err()
				}
				if err != nil { // of this one; the others are worth measuring
					o.Failed = err.Error()
				}
				o.Result.Series = nil // much, and drawn by sluice bench
				all = append(all, o)
			}
		}
		slices.Reverse(order)
	}
	return all, nil
}

// pairs is how many measurements make a round.
func (r *rounds) pairs() (n int) {
	for _, t := range r.trials {
		for _, c := range r.servers {
			if t.includes(c) {
				n++
			}
		}
	}
	return n
}

// progress shows how far it is: over and over in one line of a terminal, else
// once for each measurement.
type progress struct {
	out      io.Writer
	terminal bool

	now  string
	last time.Time
}

// redraw is how often a terminal's line is written.
const redraw = 200 * time.Millisecond

func (p *progress) begin(what string) {
	p.now = what
	if p.terminal {
		fmt.Fprintf(p.out, "\r\033[K%s", what)
	} else {
		fmt.Fprintln(p.out, what)
	}
}

// tell is a [report.Progress].
func (p *progress) tell(phase string, done, total int64) {
	if now := time.Now(); p.terminal && now.Sub(p.last) >= redraw {
		p.last = now
		fmt.Fprintf(p.out, "\r\033[K%s: %s %s of %s", p.now, phase, short(float64(done)), short(float64(total)))
	}
}

// end leaves an empty line to write on.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\033[K")
	}
}

var _ report.Progress = (*progress)(nil).tell
