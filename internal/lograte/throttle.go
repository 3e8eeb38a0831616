package lograte

import (
	"sync"
	"time"
)

// MaxKinds is how many kinds of lines a Throttle tells apart at a time.
const MaxKinds = 64

// Throttle says when lines are to be written. Its methods may be called concurrently.
type Throttle struct {
	every time.Duration // immutable

	mu sync.Mutex
	// Guarded by mu.
	kinds map[string]*kind
}

// kind is what is known of lines of one kind.
type kind struct {
	written  time.Time // when one was last
	withheld int       // since then
}

// New returns a throttle that lets one line of each kind pass in a while.
func New(every time.Duration) *Throttle {
	return &Throttle{every: every, kinds: map[string]*kind{}}
}

// Allow tells whether a line of a kind is due, and how many of it have been withheld
// since the one before. A kind is made of what does not change from line to line.
func (t *Throttle) Allow(name string) (withheld int, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.find(name, now)
	if !k.written.IsZero() && now.Sub(k.written) < t.every {
		k.withheld++
		return 0, false
	}
	withheld, k.withheld, k.written = k.withheld, 0, now
	return withheld, true
}

// Forget has the next line of a kind be written whenever it comes: what it told of is over.
func (t *Throttle) Forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.kinds, name)
}

// find is a kind's entry; mu is held.
func (t *Throttle) find(name string, now time.Time) *kind {
	if k := t.kinds[name]; k != nil {
		return k
	}
	if len(t.kinds) >= MaxKinds {
		for other, k := range t.kinds {
			if now.Sub(k.written) >= t.every {
				delete(t.kinds, other)
			}
		}
	}
	if len(t.kinds) >= MaxKinds {
		name = "" // the one for all others
		if k := t.kinds[name]; k != nil {
			return k
		}
	}
	k := &kind{}
	t.kinds[name] = k
	return k
}
