package stages

import (
	"log/slog"

	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/pipeline"
)

// observer tells the metrics what the delivery's stages report.
type observer struct{ set *metrics.Set }

func newObserver(set *metrics.Set) pipeline.Observer {
	if set == nil {
		return nil
	}
	return observer{set}
}

// Stage implements [pipeline.Observer].
func (o observer) Stage(name string) pipeline.Recorder {
	stage := metrics.Stage(name)
	r := &recorder{
		wait:     o.set.Timing(metrics.StageWait, stage),
		errors:   o.set.Counter(metrics.StageErrors, stage),
		demand:   o.set.Gauge(metrics.StageDemand, stage),
		buffered: o.set.Gauge(metrics.StageBuffer, stage),
	}
	if name != fetchStage { // its handler waits for events: it times its work itself
		r.took = o.set.Timing(metrics.StageTime, stage)
	}
	return r
}

// recorder is one stage's metrics, shared by all lanes.
type recorder struct {
	took, wait       *metrics.Timing
	errors           *metrics.Counter
	demand, buffered *metrics.Gauge
}

// Record implements [pipeline.Recorder].
func (r *recorder) Record(report pipeline.Report) {
	if report.In > 0 {
		r.took.Observe(report.Took)
		r.wait.Observe(report.Wait)
	}
	r.errors.Add(int64(report.Failed + report.Discarded + report.Retries))
	if report.Levels {
		r.demand.Set(int64(report.Demand))
		r.buffered.Set(int64(report.Buffered))
	}
}

// reportFailure logs what the delivery gave up, and, once in a while for as long as that
// lasts, what it tries again.
func reportFailure(logger *slog.Logger) func(pipeline.Failure) {
	throttle := lograte.New(tellInterval)
	return func(f pipeline.Failure) {
		if f.Events == 0 {
			if withheld, ok := throttle.Allow(f.Stage + ": " + Outline(f.Err)); ok {
				logger.Warn("stage failed, trying again", "stage", f.Stage, "attempts", f.Attempts, "error", f.Err, "failed_before", withheld)
			}
			return
		}
		logger.Error("events given up", "stage", f.Stage, "events", f.Events, "offsets", f.Positions, "error", f.Err)
	}
}
