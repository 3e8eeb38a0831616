package benchmarks

import (
	"strconv"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// What is on the wire of scenarios that have clients of their own.
const (
	topicPrefix = "bench:"
	eventName   = swarm.EventName
)

func topicName(topic int) string { return topicPrefix + strconv.Itoa(topic) }
