package outbound

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// Metrics is what the connections of a node report together.
type Metrics struct {
	counterSet
	catchups *metrics.Counter
	behind   *metrics.Timing // how long channels were behind
	deepest  deepest
}

// deepest is how many messages the fullest mailbox held, in this window of time and in
// the one before it. Who reads it does not change it, so that there may be several.
type deepest struct {
	now atomic.Int64 // the window that is open

	mu sync.Mutex
	// Guarded by mu.
	before int64
	opened time.Time
}

// depthWindow is how long a window is open, if somebody reads as often.
const depthWindow = 10 * time.Second

// NewMetrics reports to set, which may be nil.
func NewMetrics(set *metrics.Set) *Metrics {
	m := &Metrics{catchups: set.Counter(metrics.Catchups), behind: set.Timing(metrics.ReplayTime)}
	m.init(set)
	return m
}

// Deepest is how many messages the fullest mailbox has held lately.
func (m *Metrics) Deepest() int64 {
	d := &m.deepest
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.opened) >= depthWindow {
		d.before, d.opened = d.now.Swap(0), now
	}
	return max(d.before, d.now.Load())
}

// Pushed is how many messages have been written, whatever their tags.
func (m *Metrics) Pushed() int64 { return m.total() }

// caughtUp counts a channel that was behind since the given time and no longer
// is.
func (m *Metrics) caughtUp(since moment) {
	m.catchups.Add(1)
	m.behind.Observe(time.Since(since.time()))
}

// depth notes how many messages a mailbox holds.
func (m *Metrics) depth(n int) {
	for {
		deepest := m.deepest.now.Load()
		if int64(n) <= deepest || m.deepest.now.CompareAndSwap(deepest, int64(n)) {
			return
		}
	}
}

// counters are those of channels with the same tags. A message counts in
// those of its channel and in no other.
type counters struct {
	pushed    *metrics.Counter
	duplicate *metrics.Counter
	replayed  *metrics.Counter
	dropped   map[DropReason]*metrics.Counter
	joins     map[JoinReason]*metrics.Counter
}

func newCounters(set *metrics.Set, tags []metrics.Tag) *counters {
	tagged := func(more ...metrics.Tag) []metrics.Tag { return slices.Concat(tags, more) }
	s := &counters{
		pushed:    set.Counter(metrics.MessagesPushed, tagged()...),
		duplicate: set.Counter(metrics.MessagesDuplicate, tagged()...),
		replayed:  set.Counter(metrics.MessagesReplayed, tagged()...),
		dropped:   make(map[DropReason]*metrics.Counter),
		joins:     make(map[JoinReason]*metrics.Counter),
	}
	for _, reason := range dropReasons {
		s.dropped[reason] = set.Counter(metrics.MessagesDropped, tagged(metrics.Reason(string(reason)))...)
	}
	for _, reason := range joinReasons {
		s.joins[reason] = set.Counter(metrics.Joins, tagged(reason.tags()...)...)
	}
	return s
}

func (s *counters) drop(reason DropReason, n int) {
	if n > 0 {
		s.dropped[reason].Add(int64(n))
	}
}

// counterSet is all counters, which are made once for each combination of tags, and kept.
type counterSet struct {
	set *metrics.Set
	own *counters // of channels without tags

	mu     sync.Mutex
	tagged map[string]*counters // by tags; guarded by mu
}

func (a *counterSet) init(set *metrics.Set) {
	a.set, a.own = set, newCounters(set, nil)
	a.tagged = make(map[string]*counters)
}

// of returns the counters of channels with the given tags.
func (a *counterSet) of(tags map[string]string) *counters {
	if len(tags) == 0 {
		return a.own
	}
	list := make([]metrics.Tag, 0, len(tags))
	for key, value := range tags {
		list = append(list, metrics.Tag{Key: key, Value: value})
	}
	slices.SortFunc(list, func(a, b metrics.Tag) int { return cmp.Compare(a.Key, b.Key) })
	var id strings.Builder
	for _, tag := range list {
		id.WriteString(tag.Key + "\x00" + tag.Value + "\x00")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.tagged[id.String()]
	if s == nil {
		s = newCounters(a.set, list)
		a.tagged[id.String()] = s
	}
	return s
}

// total sums up over all counters.
func (a *counterSet) total() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.own.pushed.Value()
	for s := range maps.Values(a.tagged) {
		n += s.pushed.Value()
	}
	return n
}
