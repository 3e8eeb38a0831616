package relay

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// rejectPause is how often pages that are not taken are told.
const rejectPause = time.Minute

// receive takes a page that another node has published.
func (l *Log) receive(m cluster.Message) {
	p, err := parsePage(slices.Clone(m.Data))
	if err == nil && p.shard != 0 {
		err = errVersion // a later one, which has more than one
	}
	if err != nil {
		l.reject(m.From, err)
		return
	}
	l.counted.received.Add(1)
	if l.take(p, true) {
		l.source.Advance(p.head)
	}
}

// reject counts a page that is none, or none that is read, and tells it now and then.
func (l *Log) reject(from string, err error) {
	if errors.Is(err, errVersion) {
		l.counted.unspoken.Add(1)
	} else {
		l.counted.malformed.Add(1)
	}
	now := time.Now()
	l.mu.Lock()
	due := l.told.IsZero() || now.Sub(l.told) >= rejectPause
	if due {
		l.told = now
	}
	l.mu.Unlock()
	if due {
		l.config.Logger.Warn("a page of the log that another node has published is not read: it is read from the database", "error", err, "from_node", from)
	}
}

// take puts a page into the window, if it follows what is there, or begins it anew with
// what lies further on. It returns false for a page that says nothing of this log.
// Remote says that another node has published it.
func (l *Log) take(p *page, remote bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch == "" || p.epoch != l.epoch {
		l.counted.otherEpoch.Add(1)
		// Of a new one, perhaps. A node that has not heard yet that its epoch is over
		// is no reason to ask.
		l.doubted = l.doubted || l.epoch != "" && !slices.Contains(l.past, p.epoch)
		return false
	}
	if remote {
		l.heard = time.Now()
	}
	defer l.wake()
	if len(p.events) == 0 {
		if p.prev > l.passed {
			l.gap(p)
			l.passed = p.prev
		}
		return true
	}
	first, last := p.events[0].Offset, p.last()
	p.events = p.events[:contiguous(p)]
	if last <= l.barred {
		l.counted.erased.Add(1)
		return true
	}
	if first <= l.barred {
		p.events = p.events[min(l.barred+1-first, int64(len(p.events))):]
	}
	switch end := l.window.last(); {
	case len(p.events) == 0: // those that are whole are barred
	case p.last() <= end:
		l.counted.repeated.Add(1)
	case end > 0 && p.events[0].Offset <= end+1:
		l.window.append(p)
	case last <= l.passed:
		l.counted.repeated.Add(1)
	default:
		if l.passed > 0 && p.events[0].Offset > l.passed+1 {
			l.gap(p)
		}
		l.window.empty()
		l.window.append(p)
	}
	l.passed = max(l.passed, last)
	return true
}

// contiguous is how many of a page's events follow one another from the first on.
func contiguous(p *page) int {
	for i := range p.events {
		if p.events[i].Offset != p.events[0].Offset+int64(i) {
			return i
		}
	}
	return len(p.events)
}

// gap counts that what was published before a page has not come.
func (l *Log) gap(p *page) {
	if p.flags&flagMissing != 0 {
		l.counted.tooLarge.Add(1)
		return
	}
	l.counted.lost.Add(1)
}

// wake has those look again who wait for a page. It is called with mu held.
func (l *Log) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// isHealthy tells whether pages are counted on. It is called with mu held.
func (l *Log) isHealthy() bool {
	return !l.doubted && !l.heard.IsZero() && time.Since(l.heard) < l.config.healthyFor
}

// State is how a relay does.
type State struct {
	Healthy bool    `json:"healthy"`     // pages or marks come, or this node is the one that publishes them
	Age     float64 `json:"age_seconds"` // seconds since the last one came; 0 on the node that publishes
	First   int64   `json:"first"`       // offsets that can be read from pages; 0: none
	Last    int64   `json:"last"`
	Bytes   int     `json:"bytes"` // that pages take
	Hits    int64   `json:"hits"`  // reads of the log that pages have answered
	Misses  int64   `json:"misses"`
	Gaps    int64   `json:"gaps"` // times that pages were missing
}

// State says how the relay does at present.
func (l *Log) State() State {
	leads := l.source.Leads()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{
		Healthy: leads || l.isHealthy(),
		First:   l.window.first(), Last: l.window.last(), Bytes: l.window.bytes,
		Hits: l.counted.hits.Value(), Misses: l.counted.misses.Value(),
		Gaps: l.counted.lost.Value() + l.counted.tooLarge.Value(),
	}
	if since := l.heard; !leads {
		if since.IsZero() {
			since = l.began
		}
		s.Age = math.Round(time.Since(since).Seconds()*10) / 10
	}
	return s
}
