package sqlite

// HasFresh tells whether there are events for a Fetch that need not be read.
func (l *Log) HasFresh() bool { return l.fresh.Load() != nil }
