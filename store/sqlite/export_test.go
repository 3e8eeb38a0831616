package sqlite

import "time"

// In tests no page grows old by itself.
func init() { maxFreshAge = time.Hour }

// AgeFresh makes what was appended last too old to be taken.
func (l *Log) AgeFresh() {
	p := *l.fresh.Load()
	p.made = p.made.Add(-2 * maxFreshAge)
	l.fresh.Store(&p)
}

// HasFresh tells whether there are events for a Fetch that need not be read.
func (l *Log) HasFresh() bool { return l.fresh.Load() != nil }
