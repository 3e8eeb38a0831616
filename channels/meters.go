package channels

import (
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// meters are what the hub, and all that hangs on it, reports in total. What it
// reports by tags is in series.go.
type meters struct {
	fanOut   *metrics.Timing // until the last subscriber had a segment in its mailbox
	joinTime *metrics.Timing
	failures *metrics.Counter // handlers that panicked
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
	return meters{
		fanOut:   set.Timing(metrics.StageWait, metrics.Stage("mailbox")),
		joinTime: set.Timing(metrics.JoinTime),
		failures: set.Counter(metrics.StageErrors, metrics.Stage("channel")),
		catchups: set.Counter(metrics.Catchups),
		behind:   set.Timing(metrics.ReplayTime),
		deepest:  new(atomic.Int64),
	}
}

// caughtUp counts a channel that was behind since the given time and no longer
// is.
func (m *meters) caughtUp(since moment) {
	m.catchups.Add(1)
	m.behind.Observe(time.Since(since.time()))
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
