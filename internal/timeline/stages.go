package timeline

import (
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// Stage is what a stage of the line was at within a sample.
type Stage struct {
	Name    string  `json:"stage"`
	Batches float64 `json:"batches"` // that it has worked on, a second
	Busy    float64 `json:"busy"`    // how many it has had in hand at a time, on average, over all lanes; of the mailbox: how many pieces wait
	Time    Spread  `json:"time"`    // that it works on one
	Wait    Spread  `json:"wait"`    // that one waits before it
	Demand  *int64  `json:"demand"`  // events asked for and not delivered yet; null where none is told
	Depth   *int64  `json:"depth"`   // events waiting in it; of the mailbox: messages in the fullest one; null where none is told
	Errors  int64   `json:"errors"`  // since the start
}

// Spread is how long something took, in seconds; 0 where it did not happen.
type Spread struct {
	P50 Seconds `json:"p50"`
	P99 Seconds `json:"p99"`
}

// The stages of the line, in their order: see docs/architecture.md.
const (
	fetch   = "fetch"
	mailbox = "mailbox"
)

var line = []string{fetch, "batch", "encode", "route", mailbox, "write"}

// heldUp is from which share of the time on a stage that works is told to hold the others up.
const heldUp = 0.5

// Slowest names the stage that holds the others up: the one that is busiest, if it is at
// work for half of the time at least; "" if none is. A mailbox does no work of its own.
func Slowest(stages []Stage) (name string) {
	most := heldUp
	for _, s := range stages {
		if s.Name != mailbox && s.Busy >= most {
			name, most = s.Name, s.Busy
		}
	}
	return name
}

// watched is a stage, and how it stood at the last sample.
type watched struct {
	name          string
	time, wait    *metrics.Timing
	errors        *metrics.Counter
	demand, depth func() int64 // nil: it tells none

	wasTime, wasWait metrics.Distribution
}

func watch(config Config) (all []*watched) {
	set := config.Metrics
	for _, name := range line {
		tag := metrics.Stage(name)
		w := &watched{
			name: name,
			time: set.Timing(metrics.StageTime, tag), wait: set.Timing(metrics.StageWait, tag),
			errors: set.Counter(metrics.StageErrors, tag),
		}
		switch name {
		case fetch:
			w.demand, w.depth = set.Gauge(metrics.StageDemand, tag).Value, set.Gauge(metrics.StageBuffer, tag).Value
		case mailbox:
			w.depth = config.Deepest
		}
		all = append(all, w)
	}
	return all
}

func (w *watched) begin() { w.wasTime, w.wasWait = w.time.Distribution(), w.wait.Distribution() }

func (w *watched) stage(elapsed time.Duration) Stage {
	took, waited := w.time.Distribution(), w.wait.Distribution()
	worked := took.Since(w.wasTime)
	s := Stage{
		Name:    w.name,
		Batches: float64(worked.Count) / elapsed.Seconds(),
		Busy:    float64(worked.Sum) / float64(elapsed),
		Time:    spread(worked),
		Wait:    spread(waited.Since(w.wasWait)),
		Errors:  w.errors.Value(),
	}
	s.Demand, s.Depth = told(w.demand), told(w.depth)
	w.wasTime, w.wasWait = took, waited
	return s
}

// told is what is read, nil where nothing is.
func told(read func() int64) *int64 {
	if read == nil {
		return nil
	}
	n := read()
	return &n
}

func spread(d metrics.Distribution) Spread {
	return Spread{seconds(d.Quantile(0.5)), seconds(d.Quantile(0.99))}
}
