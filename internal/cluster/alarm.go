package cluster

import (
	"log/slog"
	"sync"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// alarmPause is how seldom the same thing is told while it goes on.
const alarmPause = time.Minute

// advice is what the log says of messages that were dropped, and what is to be done.
var advice = map[string][2]string{
	dropMalformed:    {"messages on the cluster's subjects are none of its own", "see who else may publish there"},
	dropVersion:      {"another node speaks another version of the cluster's protocol: nothing of it counts, the database has what it says", "upgrade one version at a time"},
	dropInstallation: {"messages of another installation came", "give each cluster a --cluster-name of its own"},
	dropUnsigned:     {"messages came that are not signed", "give all nodes the same --cluster-secret-file"},
	dropSignature:    {"messages came that are signed with another secret than this node's", "give all nodes the same --cluster-secret-file"},
	dropOverflow:     {"messages of the cluster were lost, since they came faster than they were handled", "see whether this machine is overloaded"},
}

// goneReason is why a node is no longer there.
type goneReason string

const (
	goneSilent  goneReason = "silent"  // nothing has been heard of it for NodeTimeout
	goneStopped goneReason = "stopped" // it has said so
)

// alarm counts what is lost, and tells of it and of other trouble now and then. Its
// methods may be called concurrently.
type alarm struct {
	// Immutable after newAlarm.
	logger   *slog.Logger
	counters map[string]*metrics.Counter // by reason
	gone     map[goneReason]*metrics.Counter

	mu   sync.Mutex
	told map[string]*told // guarded by mu; as many as there are messages in the code
}

type told struct {
	at     time.Time
	untold int64
}

func newAlarm(logger *slog.Logger, set *metrics.Set) *alarm {
	a := &alarm{logger: logger, counters: map[string]*metrics.Counter{}, gone: map[goneReason]*metrics.Counter{}, told: map[string]*told{}}
	for _, reason := range []goneReason{goneSilent, goneStopped} {
		a.gone[reason] = set.Counter(metrics.ClusterGone, metrics.Reason(string(reason)))
	}
	for _, reason := range reasons {
		a.counters[reason] = set.Counter(metrics.ClusterDropped, metrics.Reason(reason))
	}
	return a
}

// drop counts messages that were dropped.
func (a *alarm) drop(reason string, count int64) {
	a.counters[reason].Add(count)
	text, ok := advice[reason]
	if !ok { // it is nobody's fault
		return
	}
	a.tell(text[0], count, "reason", reason, "hint", text[1])
}

// warn tells of something that may be so for long.
func (a *alarm) warn(text string, attrs ...any) { a.tell(text, 1, attrs...) }

func (a *alarm) tell(text string, count int64, attrs ...any) {
	now := time.Now()
	a.mu.Lock()
	t := a.told[text]
	if t == nil {
		t = &told{}
		a.told[text] = t
	}
	t.untold += count
	if !t.at.IsZero() && now.Sub(t.at) < alarmPause {
		a.mu.Unlock()
		return
	}
	count = t.untold
	t.at, t.untold = now, 0
	a.mu.Unlock()
	a.logger.Warn(text, append(attrs, "count", count)...)
}
