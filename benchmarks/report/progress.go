package report

// Progress is told a few times a second how far a run is: done of total, in
// the phase's own unit. It is called by one goroutine at a time. A nil one is
// told nothing.
type Progress func(phase string, done, total int64)

// Tell calls it, unless it is nil.
func (p Progress) Tell(phase string, done, total int64) {
	if p != nil {
		p(phase, done, total)
	}
}
