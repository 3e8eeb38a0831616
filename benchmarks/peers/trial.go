package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/benchmarks"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/swarm"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// trial is a scenario that all servers are put through, and what is compared.
type trial struct {
	name     string
	says     string // what is done; {topics} and {sockets} stand for how many
	measures []measure
	// quiet says that it is about sockets and not about events, so that how those
	// are published makes no difference.
	quiet bool
	// scenario makes one of that size, to be put on a server.
	scenario func(*size) benchmarks.ServerScenario
}

// size is how much is done, where it is not the scenario's own.
type size struct {
	length  time.Duration // of a measurement
	sockets int           // 0: the scenario's own
	payload int           // bytes
}

// What is compared.
var (
	perCPUSecond = measure{
		name: "deliveries/CPU s", unit: "deliveries per second of the server's CPU time",
		of: func(r *report.Result) float64 { return r.DeliveriesPerCPUSecond },
	}
	latencyP50 = measure{
		name: "p50 ms", unit: "p50 of publish to receive, ms", smaller: true,
		of: func(r *report.Result) float64 { return float64(percentiles(r.Latency).P50) },
	}
	latencyP99 = measure{
		name: "p99 ms", unit: "p99 of publish to receive, ms", smaller: true,
		of: func(r *report.Result) float64 { return float64(percentiles(r.Latency).P99) },
	}
	memory = measure{
		name: "KB/socket", unit: "KB of the server's memory for each socket", smaller: true,
		of: func(r *report.Result) float64 { return r.BytesPerSocket / 1000 },
	}
	socketsPerCPUSecond = measure{
		name: "sockets/CPU s", unit: "sockets joined per second of the server's CPU time",
		of: func(r *report.Result) float64 { return r.SocketsPerCPUSecond },
	}
	joinP99 = measure{
		name: "p99 ms", unit: "p99 of connect to joined, ms", smaller: true,
		of: func(r *report.Result) float64 { return float64(percentiles(r.Joins).P99) },
	}
)

// percentiles are those, or all zero.
func percentiles(p *swarm.Percentiles) swarm.Percentiles {
	if p == nil {
		return swarm.Percentiles{}
	}
	return *p
}

// trials are all there are.
func trials() []*trial {
	return []*trial{
		{
			name: "fanout", says: "1 topic × {sockets} sockets, published in bulk",
			measures: []measure{perCPUSecond},
			scenario: bulk(benchmarks.DefaultFanout),
		},
		{
			name: "single", says: "1 topic × {sockets} sockets, one at a time",
			measures: []measure{perCPUSecond},
			scenario: bulk(benchmarks.DefaultSingle),
		},
		{
			name: "topics", says: "{topics} topics × 1 socket, published in bulk",
			measures: []measure{perCPUSecond},
			scenario: bulk(benchmarks.DefaultTopics),
		},
		{
			name: "steady", says: "1 topic × {sockets} sockets, 20 events a second",
			measures: []measure{latencyP50, latencyP99},
			scenario: func(size *size) benchmarks.ServerScenario {
				s := benchmarks.DefaultSteady()
				s.For = s.WarmUp + size.length
				return s
			},
		},
		{
			name: "idle", says: "{sockets} sockets that wait", quiet: true,
			measures: []measure{memory},
			scenario: func(*size) benchmarks.ServerScenario { return benchmarks.DefaultIdle() },
		},
		{
			name: "storm", says: "{sockets} sockets connect and join at once", quiet: true,
			measures: []measure{socketsPerCPUSecond, joinP99},
			scenario: func(*size) benchmarks.ServerScenario { return benchmarks.DefaultReconnect() },
		},
	}
}

// bulk is a scenario that publishes in batches.
func bulk(standard func() *benchmarks.Bulk) func(*size) benchmarks.ServerScenario {
	return func(size *size) benchmarks.ServerScenario {
		b := standard()
		b.For = size.length
		return b
	}
}

// on is the trial's scenario for a server, which events reach in that way.
func (t *trial) on(server target.Server, way target.Way, size *size) benchmarks.ServerScenario {
	scenario := t.scenario(size)
	base := scenario.Common()
	base.Server, base.By, base.Payload = server, way, size.payload
	if size.sockets > 0 {
		base.Topics, base.Sockets = min(base.Topics, size.sockets), size.sockets
	}
	return scenario
}

// title is what is done, at that size.
func (t *trial) title(size *size) string {
	base := t.on(nil, "", size).Common()
	return strings.NewReplacer("{topics}", grouped(base.Topics), "{sockets}", grouped(base.Sockets)).Replace(t.says)
}

// grouped writes a number with its thousands apart.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// includes tells whether a server takes part.
func (t *trial) includes(c *contender) bool { return !t.quiet || !c.loud }

// chooseTrials picks trials, all of them if only is empty.
func chooseTrials(only []string) (chosen []*trial, err error) {
	var names []string
	for _, t := range trials() {
		names = append(names, t.name)
		if len(only) == 0 || slices.Contains(only, t.name) {
			chosen = append(chosen, t)
		}
	}
	for _, given := range only {
		if !slices.Contains(names, given) {
			return nil, fmt.Errorf("there is no scenario %q: choose from %s", given, strings.Join(names, ", "))
		}
	}
	return chosen, nil
}
