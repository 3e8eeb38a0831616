package sluice

import (
	"errors"
	"fmt"
)

// FieldError reports a field of a [Config] that cannot be used.
type FieldError struct {
	Field   string // the name of the field in Config; of a rule, such as Topics[0].Match
	Given   string // what was given
	Allowed string // what is allowed, and the next step
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("sluice: %s is %q: allowed is %s", e.Field, e.Given, e.Allowed)
}

// faults collects all that is wrong with a configuration; of a value that is wrong in
// several ways, the first.
type faults []*FieldError

func (f *faults) add(field, given, allowed string) {
	for _, other := range *f {
		if other.Field == field && other.Given == given {
			return
		}
	}
	*f = append(*f, &FieldError{field, given, allowed})
}

// join is all of them as one error, nil if there is none.
func (f faults) join() error {
	errs := make([]error, len(f))
	for i, fault := range f {
		errs[i] = fault
	}
	return errors.Join(errs...)
}
