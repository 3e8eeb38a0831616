package channels

import (
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// meters are what the hub, and all that hangs on it, reports.
type meters struct {
	fanOut   *metrics.Timing // until the last subscriber had a segment in its mailbox
	dropped  map[DropReason]*metrics.Counter
	joins    map[joinStatus]*metrics.Counter
	joinTime *metrics.Timing
	failures *metrics.Counter // handlers that panicked
	replayed *metrics.Counter
	catchups *metrics.Counter
	behind   *metrics.Timing // how long channels were behind
	deepest  *atomic.Int64   // messages in the fullest mailbox since it was read
}

// joinStatus is how a join was answered.
type joinStatus string

const (
	joinOK       joinStatus = "ok"
	joinRejected joinStatus = "rejected" // by the handler, or for what was asked
	joinCrashed  joinStatus = "crashed"
)

func newMeters(set *metrics.Set) meters {
	m := meters{
		fanOut:   set.Timing(metrics.StageWait, metrics.Stage("mailbox")),
		dropped:  make(map[DropReason]*metrics.Counter),
		joins:    make(map[joinStatus]*metrics.Counter),
		joinTime: set.Timing(metrics.JoinTime),
		failures: set.Counter(metrics.StageErrors, metrics.Stage("channel")),
		replayed: set.Counter(metrics.MessagesReplayed),
		catchups: set.Counter(metrics.Catchups),
		behind:   set.Timing(metrics.ReplayTime),
		deepest:  new(atomic.Int64),
	}
	for _, reason := range []DropReason{DropOverflow, DropTooSlow, DropClosed, DropReplaced} {
		m.dropped[reason] = set.Counter(metrics.MessagesDropped, metrics.Reason(string(reason)))
	}
	for _, status := range []joinStatus{joinOK, joinRejected, joinCrashed} {
		m.joins[status] = set.Counter(metrics.Joins, metrics.Status(string(status)))
	}
	return m
}

func (m *meters) drop(reason DropReason, n int) {
	if n > 0 {
		m.dropped[reason].Add(int64(n))
	}
}

// joined counts a join that arrived at the given time.
func (m *meters) joined(status joinStatus, arrived time.Time) {
	m.joins[status].Add(1)
	m.joinTime.Observe(time.Since(arrived))
}

// caughtUp counts a channel that was behind since the given time and no longer
// is.
func (m *meters) caughtUp(since time.Time) {
	m.catchups.Add(1)
	m.behind.Observe(time.Since(since))
}

// depth notes how many messages a mailbox holds.
func (m *meters) depth(n int) {
	for {
		deepest := m.deepest.Load()
		if int64(n) <= deepest || m.deepest.CompareAndSwap(deepest, int64(n)) {
			return
		}
	}
}
