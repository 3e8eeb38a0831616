package channels

import "github.com/sluicehq/sluice/metrics"

// hubMetrics is what the hub, and all that hangs on it, reports beside what
// connections do ([outbound.Metrics]).
type hubMetrics struct {
	fanOut   *metrics.Timing // until the last subscriber had a segment in its mailbox
	joinTime *metrics.Timing
	failures *metrics.Counter // handlers that panicked
}

func newHubMetrics(set *metrics.Set) hubMetrics {
	return hubMetrics{
		fanOut:   set.Timing(metrics.StageWait, metrics.Stage("mailbox")),
		joinTime: set.Timing(metrics.JoinTime),
		failures: set.Counter(metrics.StageErrors, metrics.Stage("channel")),
	}
}
