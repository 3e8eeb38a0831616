package main

import (
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/sluicehq/sluice"
)

// knob is a flag, and the values that it is measured at.
type knob struct {
	flag     string // without its dashes
	unit     string // of its values, for the axis
	settings []setting
	standard string // the label of the default
	measures []measure
}

// setting is one value of a flag.
type setting struct {
	label  string
	apply  func(*sluice.Config)
	events int64 // size of the backlog, where the flag makes it slow; 0 is the sweep's own
}

// measure is what is measured of a setting.
type measure string

const (
	throughput measure = "throughput" // of a backlog
	latency    measure = "latency"    // of a steady trickle
	unwoken    measure = "unwoken"    // latency of rare events, when wake-ups are lost
)

// knobs lists the flags of the stages.
func knobs() []knob {
	cores := runtime.GOMAXPROCS(0)
	lanes := []int{1, 2, 4, 8, 16, cores}
	slices.Sort(lanes)
	return []knob{
		{"max-demand", "events a lane", counts(func(c *sluice.Config, v int) { c.MaxDemand = v },
			10, 50, 200, 1000, 5000), "1000", both()},
		{"min-demand", "events a lane, of a max demand of 1000", counts(func(c *sluice.Config, v int) { c.MinDemand = v },
			1, 250, 500, 750, 999), "500", both()},
		{"fetch-size", "events a read", counts(func(c *sluice.Config, v int) { c.FetchSize = v },
			1, 10, 50, 200, 500, 1000), "500", both()},
		{"batch-size", "events a batch", counts(func(c *sluice.Config, v int) { c.BatchSize = v },
			1, 10, 50, 200, 500, 1000), "500", both()},
		{"batch-timeout", "", waits(func(c *sluice.Config, v time.Duration) { c.BatchTimeout = v },
			0, time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 100*time.Millisecond), "0s", both()},
		{"lanes", "", counts(func(c *sluice.Config, v int) { c.Lanes = v },
			slices.Compact(lanes)...), strconv.Itoa(cores), both()},
		{"rate-limit", "events/s", append(counts(func(c *sluice.Config, v int) { c.RateLimit = v },
			1000, 10_000, 100_000), setting{"none", func(c *sluice.Config) { c.RateLimit = 0 }, 0}), "none", both()},
		{"poll-interval", "", waits(func(c *sluice.Config, v time.Duration) { c.PollInterval = v },
			10*time.Millisecond, 100*time.Millisecond, time.Second), "100ms",
			[]measure{latency, unwoken}},
	}
}

func both() []measure { return []measure{throughput, latency} }

// smallest is the value, in events at a time or thousands a second, from which
// on a whole backlog is no matter of patience.
const smallest = 50

func counts(set func(*sluice.Config, int), values ...int) (settings []setting) {
	for _, v := range values {
		s := setting{label: strconv.Itoa(v), apply: func(c *sluice.Config) { set(c, v) }}
		if v < smallest {
			s.events = int64(v) * 2000
		}
		settings = append(settings, s)
	}
	return settings
}

func waits(set func(*sluice.Config, time.Duration), values ...time.Duration) (settings []setting) {
	for _, v := range values {
		settings = append(settings, setting{label: v.String(), apply: func(c *sluice.Config) { set(c, v) }})
	}
	return settings
}
