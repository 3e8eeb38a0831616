package presence

import "github.com/sluicehq/sluice/metrics"

// counters are what a tracker reports.
type counters struct {
	refusedKey  *metrics.Counter // presences of this node
	refusedFull *metrics.Counter

	garbled  *metrics.Counter // messages of other nodes
	version  *metrics.Counter
	invalid  *metrics.Counter // presences in them
	overfull *metrics.Counter

	fetches *metrics.Counter // of all that another node has
}

func newCounters(set *metrics.Set) counters {
	rejected := func(reason string) *metrics.Counter {
		return set.Counter(metrics.PresenceRejected, metrics.Reason(reason))
	}
	return counters{
		refusedKey:  set.Counter(metrics.PresenceRefused, metrics.Reason("key")),
		refusedFull: set.Counter(metrics.PresenceRefused, metrics.Reason("capacity")),
		garbled:     rejected("garbled"),
		version:     rejected("version"),
		invalid:     rejected("invalid"),
		overfull:    rejected("capacity"),
		fetches:     set.Counter(metrics.PresenceFetches),
	}
}
