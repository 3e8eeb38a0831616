package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// A closed pipe is an error of the write, which watch takes as its end, and
	// no reason for a service to die with the reader of its log. It is caught and not ignored,
	// as a command that consume runs would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(process{os.Stdin, os.Stdout, os.Stderr, os.LookupEnv, os.Environ}.run(untilSignal(), os.Args[1:]))
}

// untilSignal returns a context that ends with the first signal to stop. The
// second one ends the process, for those who will not wait for a drain.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2) // the runtime sends, nobody closes; room for the two that count
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // ends with the process
		<-signals
		cancel()
		<-signals
		os.Exit(exitAborted)
	}()
	return ctx
}

// process is what a command may use of the process it runs in.
type process struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(name string) (value string, ok bool)
	environ        func() []string // all of it, each NAME=value
}

const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
	exitAborted = 130 // as shells have it for a program that was interrupted
)

// run parses args, runs the command that they name and returns the exit
// status. Errors are reported here and nowhere else.
func (p process) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	resolver := newConfigResolver(p.env)
	parser, err := newParser(ctx, p, resolver)
	if err != nil {
		panic(err) // the grammar is wrong: a programmer's error
	}
	command, err := resolver.parse(parser, args)
	if errors.Is(err, errShown) || readerGone(err) {
		return exitOK
	}
	help := helpCommand(command)
	p.checkVariables(parser.Model, resolver)
	if err == nil && len(resolver.faults) == 0 {
		err = command.Run()
	} else if err == nil {
		err = resolver.check(command)
	}
	return p.report(err, resolver, help)
}

// report tells the user what went wrong and returns the exit status for it.
func (p process) report(err error, resolver *configResolver, help string) int {
	if !resolver.explain(err) && len(resolver.faults) == 0 {
		if err == nil || readerGone(err) {
			return exitOK
		}
		fmt.Fprintf(p.stderr, "sluice: %v\n", err)
		return exitFailure
	}
	resolver.write(p.stderr, help)
	return exitUsage
}

// readerGone tells whether nobody reads what is printed any more, as head does
// when it has seen enough. A pipe that breaks elsewhere is an error.
func readerGone(err error) bool {
	var write *os.PathError
	return errors.As(err, &write) && write.Path == os.Stdout.Name() && errors.Is(write.Err, syscall.EPIPE)
}

// usageError reports a value that cannot be used, wherever it came from.
type usageError struct {
	name    string // of the flag, with its dashes, or of the argument
	given   string
	allowed string
}

func (r *usageError) Error() string {
	return fmt.Sprintf("%s is %q: allowed is %s", r.name, r.given, r.allowed)
}

// isTerminal tells whether a stream is a terminal. The null device counts as
// one, to good effect: there is nothing to read from it, and nobody to bother.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
