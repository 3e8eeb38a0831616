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
	left     int           // in the interval at hand
	ends     time.Time     // of the interval at hand
	changed  chan struct{} // closed by Set, which makes a new one
}

// NewLimiter allows events per interval. Less than one event, or no interval, is no limit.
func NewLimiter(events int, interval time.Duration) *Limiter {
	l := &Limiter{changed: make(chan struct{})}
	l.Set(events, interval)
	return l
}

// Set changes the limit. It counts from now, also for those that wait.
func (l *Limiter) Set(events int, interval time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events, l.interval = events, interval
	l.left, l.ends = events, time.Now().Add(interval)
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
	if !now.Before(l.ends) {
		l.left, l.ends = l.events, now.Add(l.interval)
	}
	allowed = min(n, l.left)
	l.left -= allowed
	return allowed, l.ends.Sub(now), l.changed
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
	return newConduit(r, func(in <-chan any, out chan<- any) {
		for element := range in {
			for b := received[T](r.topology, s.name, element); b != nil; {
				m.begin(len(b.Events), b.sent)
				n := s.await(r, len(b.Events))
				next := b
				if b = nil; n < len(next.Events) {
					next, b = next.cut(n)
				}
				next.sent = m.end(n, 0)
				out <- next
			}
		}
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
