package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
)

// command is the flags.
type command struct {
	Rounds  int           `group:"What" default:"3" help:"How often each server is put through each scenario."`
	Only    []string      `group:"What" placeholder:"SCENARIO,…" help:"Scenarios to run; none given: all."`
	Servers []string      `group:"What" placeholder:"SERVER,…" help:"Servers to measure; none given: all."`
	Without []string      `group:"What" placeholder:"SERVER,…" help:"Servers to leave out."`
	List    bool          `group:"What" help:"List the scenarios and the servers, and do nothing else."`
	For     time.Duration `group:"Size" default:"4s" help:"How long a measurement takes, about."`
	Sockets int           `group:"Size" placeholder:"N" help:"Clients; none given: as many as the scenario's name says."`
	Payload int           `group:"Size" default:"128" help:"Bytes of a payload."`

	Sluice string `group:"Sluice" placeholder:"FILE" help:"A sluice binary; none given: one is built from the checkout."`

	JSON     string `name:"json" group:"Report" placeholder:"FILE" help:"File for everything that was measured."`
	Plots    string `group:"Report" placeholder:"FOLDER" help:"Folder for a picture of each scenario, as SVG."`
	Markdown string `group:"Report" placeholder:"FILE" help:"File for a page with tables, pictures, commands and machine."`
}

const description = `Measures Sluice beside a server on the centrifuge library, npm's ws and Socket.IO: the same clients, payloads and requests, each server a process on a core of its own, in turns.

Examples:
  go run .                                              # everything, 3 rounds
  go run . --only fanout,single --rounds 5
  go run . --without ws,ws-tuned,socketio               # without Node.js
  go run . --json peers.json --plots pictures --markdown results.md

The exit status is 1 if anything was lost, came twice or out of order.`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c command
	kong.Parse(&c, kong.Name("peers"), kong.Description(description), kong.UsageOnError())
	if err := c.run(ctx, os.Stdout, os.Stderr); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; nothing is reported")
		}
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func (c *command) run(ctx context.Context, out, progressOut io.Writer) error {
	if c.List {
		return list(out)
	}
	if c.Rounds < 1 || c.For <= 0 || c.Sockets < 0 || c.Payload < 0 {
		return errors.New("--rounds and --for take more than 0, --sockets and --payload no less")
	}
	trials, err := chooseTrials(c.Only)
	if err != nil {
		return err
	}
	servers, err := choose(c.Servers, c.Without)
	if err != nil {
		return err
	}
	size := &size{length: c.For, sockets: c.Sockets, payload: c.Payload}
	if err := errors.Join(enoughFiles(trials, size), c.prepareFiles()); err != nil {
		return err
	}
	show := &progress{out: progressOut, terminal: isatty.IsTerminal(os.Stderr.Fd())}
	results := &comparison{Machine: thisMachine(ctx), Command: c.line(), Payload: c.Payload, Servers: servers, trials: trials, size: size}
	if results.Outcomes, err = c.measure(ctx, show, trials, servers, size); err != nil {
		return err
	}
	if err := errors.Join(results.writeTables(out), c.write(results)); err != nil {
		return err
	}
	if !results.sound() {
		return errors.New("not all was as it must be: see the tables")
	}
	return nil
}

// measure builds the servers in a folder of their own, and runs the rounds.
func (c *command) measure(ctx context.Context, show *progress, trials []*trial, servers []*contender, size *size) (all []outcome, err error) {
	defer show.end()
	bin, err := os.MkdirTemp("", "sluice-peers-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the servers' programs: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	shop, err := newWorkshop(ctx, bin)
	if err != nil {
		return nil, err
	}
	built, err := build(ctx, shop, servers, c.Sluice, show.begin)
	if err != nil {
		return nil, err
	}
	turns := &rounds{count: c.Rounds, trials: trials, servers: servers, built: built, show: show, size: size}
	return turns.run(ctx)
}

// filesBeside are what a process opens beside its sockets.
const filesBeside = 256

// enoughFiles refuses more sockets than a process may open files: clients and
// server need one each.
func enoughFiles(trials []*trial, size *size) error {
	limit := fileLimit()
	for _, t := range trials {
		sockets := t.on(nil, "", size).Common().Sockets
		if limit > 0 && sockets+filesBeside > limit {
			return fmt.Errorf("%s takes %d sockets, but a process may open %d files here: raise that with ulimit -n, or pass --sockets %d or --only without %s",
				t.name, sockets, limit, max(1, limit-filesBeside), t.name)
		}
	}
	return nil
}

// prepareFiles makes the folders of the reports, so that a wrong one is told
// before the measurements and not after.
func (c *command) prepareFiles() error {
	for flag, path := range map[string]string{"--json": c.JSON, "--markdown": c.Markdown, "--plots": filepath.Join(c.Plots, ".")} {
		folder := path
		if flag != "--plots" {
			folder = filepath.Dir(path)
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("%s: %w", flag, err)
		}
	}
	return nil
}

// write writes the files that were asked for.
func (c *command) write(r *comparison) error {
	var errs []error
	if c.JSON != "" {
		errs = append(errs, r.writeJSON(c.JSON))
	}
	if c.Plots != "" {
		errs = append(errs, r.draw(c.Plots))
	}
	if c.Markdown != "" {
		errs = append(errs, r.writePage(c.Markdown, c.Plots))
	}
	return errors.Join(errs...)
}

// line is the command as it can be run again.
func (c *command) line() string {
	args := append([]string{"go", "run", "."}, os.Args[1:]...)
	return strings.Join(args, " ")
}

func list(out io.Writer) error {
	fmt.Fprintln(out, "scenarios")
	for _, t := range trials() {
		fmt.Fprintf(out, "  %-18s%s\n", t.name, t.title(&size{}))
	}
	fmt.Fprintln(out, "servers")
	for _, c := range contenders() {
		fmt.Fprintf(out, "  %-18s%s\n", c.Name, c.What)
	}
	return nil
}
