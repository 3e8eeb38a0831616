package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// errShown ends a run that was asked for help, or the version, only.
var errShown = errors.New("shown")

// helpFlag shows help as soon as it is seen, before anything else about the
// command line can be wrong.
type helpFlag bool

// BeforeReset is called by kong when the flag is given.
func (helpFlag) BeforeReset(parsed *kong.Context) error {
	if err := parsed.PrintUsage(false); err != nil {
		return err
	}
	return errShown
}

// exemplary is a command that shows how it is used.
type exemplary interface{ Examples() string }

// printHelp is kong's help, followed by examples: they end up next to the
// prompt, where they are read.
func printHelp(options kong.HelpOptions, parsed *kong.Context) error {
	if err := kong.DefaultHelpPrinter(options, parsed); err != nil {
		return err
	}
	var command any = parsed.Model.Target.Addr().Interface()
	if selected := parsed.Selected(); selected != nil {
		command = selected.Target.Addr().Interface()
	}
	if command, ok := command.(exemplary); ok {
		fmt.Fprintf(parsed.Stdout, "\nExamples:\n  %s\n", strings.ReplaceAll(command.Examples(), "\n", "\n  "))
	}
	return nil
}

// describe writes a flag's help with its default and its variables.
func describe(value *kong.Value) string {
	if value.Flag == nil {
		return value.Help
	}
	var notes []string
	if value.HasDefault {
		notes = append(notes, "default "+value.Default)
	}
	notes = append(notes, envNames(value.Flag)...)
	if len(notes) == 0 {
		return value.Help
	}
	return value.Help + " [" + strings.Join(notes, ", ") + "]"
}

// Examples implements exemplary.
func (c *cli) Examples() string {
	return `sluice serve
sluice watch demo
sluice publish demo greeted '{"hello": "world"}'
sluice serve --help`
}

func helpCommand(parsed *kong.Context) string {
	if selected := parsed.Selected(); selected != nil {
		return "sluice " + selected.Name + " --help"
	}
	return "sluice --help"
}

// helpCmd is the flag as a command, which people try first.
type helpCmd struct {
	Command string `arg:"" optional:"" help:"Which command; none: the program."`
}

// Examples implements exemplary.
func (*helpCmd) Examples() string {
	return `sluice help
sluice help serve`
}

// Run is called by kong.
func (h *helpCmd) Run(parsed *kong.Context) error {
	args := []string{"--help"}
	if h.Command != "" {
		names := strings.Fields(commandNames(parsed.Model))
		if !slices.Contains(names, h.Command) {
			return &usageError{"<command>", h.Command, "one of " + strings.Join(names, ", ")}
		}
		args = []string{h.Command, "--help"}
	}
	_, err := parsed.Kong.Parse(args)
	if errors.Is(err, errShown) {
		return nil
	}
	return err
}
