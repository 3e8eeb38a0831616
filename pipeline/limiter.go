package pipeline

import (
	"sync"
	"time"

	"github.com/reugn/go-streams"
)

// Limiter lets at most so many events through in each interval. Lines that share one
// share its allowance. It may be changed while they run.
type Limiter struct {
	// Guarded by mu.
	mu       sync.Mutex
	events   int
	interval time.Duration
	used     int           // of the interval at hand
	began    time.Time     // the interval at hand; zero before the first
	changed  chan struct{} // closed by Set, which makes a new one
}

// NewLimiter allows events per interval. Less than one event, or no interval, is no limit.
func NewLimiter(events int, interval time.Duration) *Limiter {
	l := &Limiter{changed: make(chan struct{})}
	l.Set(events, interval)
	return l
}

// Set changes the limit. It counts from now, also for those that wait. What the interval at
// hand has let through counts against the new limit: to set one again and again lets no
// more through.
func (l *Limiter) Set(events int, interval time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.interval = events, interval
	close(l.changed)
	l.changed = make(chan struct{})
}

// allow takes up to n from the allowance; if there is none it returns how long that
// will be, and what is closed if it changes before.
func (l *Limiter) allow(n int) (allowed int, wait time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.events < 1 || l.interval <= 0 {
		return n, 0, nil
	}
	now := time.Now()
	if l.began.IsZero() || now.Sub(l.began) >= l.interval {
		l.used, l.began = 0, now
	}
	allowed = min(n, max(0, l.events-l.used))
	l.used += allowed
	return allowed, l.began.Add(l.interval).Sub(now), l.changed
}

// Limit puts a limiter into a line. What waits for it is under way: the line does
// not ask for more. A batch larger than the allowance goes on in parts.
func Limit[T any](name string, l *Limiter) Stage { return limit[T]{name, l} }

type limit[T any] struct {
	name    string
	limiter *Limiter
}

func (s limit[T]) shape() shape { return shape{s.name, elementOf[T](), elementOf[T]()} }

func (s limit[T]) flow(r *run) streams.Flow {
	m := newMeter(r.topology.recorder(s.name))
	return newBatchFlow(r, s.name, func(b *Batch[T], pass func(any)) {
		m.begin(len(b.Events), b.sent)
		for b != nil {
			n := s.await(r, len(b.Events))
			next := b
			if b = nil; n < len(next.Events) {
				next, b = next.cut(n)
			}
			next.sent = m.end(n, 0)
			pass(next)
		}
		m.record()
	})
}

// await blocks until some of n events may pass, and returns how many. When the
// topology stops hard all do: to fail.
func (s limit[T]) await(r *run, n int) int {
	for {
		allowed, wait, changed := s.limiter.allow(n)
		if allowed > 0 {
			return allowed
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-r.ctx.Done():
			t.Stop()
			return n
		}
		t.Stop()
	}
}
