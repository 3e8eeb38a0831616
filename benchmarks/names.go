package benchmarks

import "github.com/sluicehq/sluice/benchmarks/swarm"

// What is on the wire of scenarios that have clients of their own.
const (
	topicPrefix = "bench:"
	eventName   = swarm.EventName
)
