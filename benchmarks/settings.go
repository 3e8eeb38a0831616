package benchmarks

import "time"

// Settings are those parameters of a scenario that flags set.
type Settings struct {
	// For is how long it runs. Nil: it has no use for that.
	For *time.Duration
	// Numbers are the other ones, by the names of their flags.
	Numbers map[string]Setter
}

// Setter sets a number. Whether there is a use for it, the scenario says when it
// runs.
type Setter func(to int64)

// Number sets a field of a scenario.
func Number[N int | int64 | uint64 | float64](field *N) Setter {
	return func(to int64) { *field = N(to) }
}
