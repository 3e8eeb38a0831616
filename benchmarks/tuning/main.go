package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o options
	kong.Parse(&o, kong.Name("tuning"), kong.Description(
		"Measures what each flag of the stages does to throughput and latency, one flag at a time with the others at their defaults, "+
			"and draws it. It takes some minutes; the machine should have nothing else to do."))
	if err := o.run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "tuning:", err)
		stop()
		os.Exit(1)
	}
}

// run measures, unless there are results to redraw, and shows what came of it.
func (o *options) run(ctx context.Context, out, progress io.Writer) error {
	chosen, err := o.chosen()
	if err != nil {
		return err
	}
	all, unsound := (*results)(nil), error(nil)
	if o.Redraw {
		all, err = readResults(o.results())
	} else if err = os.MkdirAll(o.Out, 0o755); err == nil {
		all, unsound, err = o.sweep(ctx, chosen, progress)
	}
	if err != nil {
		return err
	}
	found := all.measured(chosen)
	return errors.Join(all.draw(found, o.Out), all.writeTable(out, found), unsound)
}
