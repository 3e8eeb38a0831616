package benchmarks

import "context"

// Scenario is something to measure. Its fields are its parameters.
type Scenario interface {
	// Name is what the scenario is called on the command line.
	Name() string
	// Measures says in a line what the result tells.
	Measures() string
	// Run measures once. An error means that nothing was measured; losses
	// are no error but part of the result, see [Result.Sound].
	Run(ctx context.Context, progress Progress) (Result, error)
}

// Scenarios lists all there are, with parameters to start from.
func Scenarios() []Scenario {
	return []Scenario{
		DefaultFanout(), DefaultSingle(), DefaultTopics(), DefaultBacklog(), DefaultLog(), DefaultRow(), DefaultSteady(),
		DefaultIdle(), DefaultStorm(), DefaultSlow(), DefaultLongPoll(), DefaultChaos(),
	}
}

// Progress is told a few times a second how far a run is: done of total, in
// the phase's own unit. It is called by one goroutine at a time. A nil one is
// told nothing.
type Progress func(phase string, done, total int64)

func (p Progress) tell(phase string, done, total int64) {
	if p != nil {
		p(phase, done, total)
	}
}

// Standing is a scenario that any server can be measured by.
type Standing interface {
	Scenario
	// Standing is where it is run.
	Standing() *Stand
	// Settings are its parameters, by the names of the flags that set them:
	// pointers to its fields.
	Settings() map[string]any
}
