package benchmarks

import (
	"context"

	"github.com/sluicehq/sluice/benchmarks/chaos"
	"github.com/sluicehq/sluice/benchmarks/report"
)

// Scenario is something to measure. Its fields are its parameters.
type Scenario interface {
	// Name is what the scenario is called on the command line.
	Name() string
	// Measures says in a line what the result tells.
	Measures() string
	// Run measures once. An error means that nothing was measured; losses
	// are no error but part of the result, see [report.Result.Sound].
	Run(ctx context.Context, progress report.Progress) (report.Result, error)
}

// Scenarios lists all there are, with parameters to start from.
func Scenarios() []Scenario {
	return []Scenario{
		DefaultFanout(), DefaultSingle(), DefaultTopics(), DefaultChannels(), DefaultBacklog(), DefaultLog(), DefaultRow(), DefaultSteady(),
		DefaultIdle(), DefaultReconnect(), DefaultSlow(), DefaultLongPoll(), DefaultCluster(), DefaultPresence(), chaos.Default(),
	}
}

// ServerScenario is a scenario that any server can be measured by.
type ServerScenario interface {
	Scenario
	// Common is what it shares with the others: where it is run, and its load.
	Common() *Base
	// Settings are its parameters, which flags set.
	Settings() Settings
}
