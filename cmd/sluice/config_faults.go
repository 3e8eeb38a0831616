package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/sluicehq/sluice"
)

// place is where a setting was given.
type place struct {
	name         string // of the file or the variable; empty: the command line, which goes without saying
	line, column int    // in the file, from 1; 0 for a variable
}

func (p place) String() string {
	if p.line == 0 {
		return p.name
	}
	return fmt.Sprintf("%s:%d:%d", p.name, p.line, p.column)
}

// fault is one thing that is wrong with what the program was told. All that there
// are, on the command line, in the environment and in the file, are told together.
type fault struct {
	place   place
	setting string // as flagOf names it; empty: of none
	text    string
	help    bool // whether the command's help says more
}

// fault notes what is wrong in a file with a setting, or with none that is known.
func (r *configResolver) fault(at place, setting string, help bool, format string, args ...any) {
	r.faults = append(r.faults, fault{at, setting, at.String() + ": " + fmt.Sprintf(format, args...), help})
}

// refuse notes a value that cannot be used; it says where that was given.
func (r *configResolver) refuse(wrong *usageError) {
	at, text := r.placeOf(wrong.name), wrong.Error()
	if at.name != "" {
		text += fmt.Sprintf(" (given by %v)", at)
	}
	if known := (fault{at, wrong.name, text, false}); !slices.Contains(r.faults, known) {
		r.faults = append(r.faults, known)
	}
}

// settled tells whether something is wrong already with how a setting is written: then
// what it is taken for until it is mended is of no interest.
func (r *configResolver) settled(setting string) bool {
	return slices.ContainsFunc(r.faults, func(f fault) bool {
		return f.setting != "" && (f.setting == setting || strings.HasPrefix(setting, f.setting+": "))
	})
}

// explain notes the faults that err consists of, and tells whether there were any.
func (r *configResolver) explain(err error) (any bool) {
	written := &configResolver{faults: slices.Clone(r.faults)}
	var visit func(error) bool
	visit = func(err error) (found bool) {
		switch err := err.(type) {
		case *sluice.FieldError:
			if name := flagOf(err.Field); !written.settled(name) {
				r.refuse(&usageError{name, err.Given, err.Allowed})
			}
			return true
		case *usageError:
			if !written.settled(err.name) {
				r.refuse(err)
			}
			return true
		case *kong.ParseError:
			if !visit(errors.Unwrap(err)) {
				r.faults = append(r.faults, fault{text: err.Error(), help: true})
			}
			return true
		case interface{ Unwrap() []error }:
			for _, each := range err.Unwrap() {
				found = visit(each) || found
			}
			return found
		case interface{ Unwrap() error }:
			return visit(err.Unwrap())
		}
		return false
	}
	return err != nil && visit(err)
}

// sort puts the faults of a file in its order, behind all others.
func (r *configResolver) sort() {
	slices.SortStableFunc(r.faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.place.line, b.place.line), cmp.Compare(a.place.column, b.place.column))
	})
}

// join is all faults as one error, in one line.
func (r *configResolver) join() error {
	r.sort()
	texts := make([]string, len(r.faults))
	for i, f := range r.faults {
		texts[i] = f.text
	}
	return errors.New(strings.Join(texts, "; "))
}

// write tells all faults, each in a line. help is the command whose help says more.
func (r *configResolver) write(w io.Writer, help string) {
	r.sort()
	hint := ""
	if slices.ContainsFunc(r.faults, func(f fault) bool { return f.help }) {
		hint = "; see: " + help
	}
	if len(r.faults) == 1 {
		fmt.Fprintf(w, "sluice: %s%s\n", r.faults[0].text, hint)
		return
	}
	for _, f := range r.faults {
		fmt.Fprintf(w, "sluice: %s\n", f.text)
	}
	fmt.Fprintf(w, "sluice: %d faults%s\n", len(r.faults), hint)
}
