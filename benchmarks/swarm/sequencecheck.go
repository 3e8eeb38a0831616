package swarm

// SequenceCheck is what one subscription has received of a topic whose events are
// numbered from 0. It needs memory only for what is missing. The zero value is
// ready; it is for one goroutine at a time.
type SequenceCheck struct {
	next  int64  // all below have arrived, but for what is missing
	wrong *wrong // nil as long as everything was right
}

// wrong is what a sequence check keeps of what did not arrive as it should.
type wrong struct {
	missing    []span // passed over so far, in order
	twice      int64
	disordered int64
}

// span is the numbers from first up to, not including, end.
type span struct{ first, end int64 }

// Note enters the arrival of a number, and tells whether it is the first of it.
func (c *SequenceCheck) Note(n int64) (fresh bool) {
	if n == c.next {
		c.next++
		return true
	}
	return c.noteWrong(n)
}

func (c *SequenceCheck) noteWrong(n int64) (fresh bool) {
	if c.wrong == nil {
		c.wrong = new(wrong)
	}
	switch {
	case n > c.next:
		c.wrong.missing = append(c.wrong.missing, span{c.next, n})
		c.next = n + 1
	case c.wrong.found(n):
		c.wrong.disordered++
	default:
		c.wrong.twice++
		return false
	}
	return true
}

// found strikes n off what is missing, and tells whether it was.
func (w *wrong) found(n int64) bool {
	for i, s := range w.missing {
		if n < s.first || n >= s.end {
			continue
		}
		var left []span
		if s.first < n {
			left = append(left, span{s.first, n})
		}
		if n+1 < s.end {
			left = append(left, span{n + 1, s.end})
		}
		w.missing = append(w.missing[:i], append(left, w.missing[i+1:]...)...)
		return true
	}
	return false
}

// Arrived is how many different numbers have arrived.
func (c *SequenceCheck) Arrived() int64 {
	arrived := c.next
	if c.wrong != nil {
		for _, s := range c.wrong.missing {
			arrived -= s.end - s.first
		}
	}
	return arrived
}

// Check says what went wrong, when total events were due.
func (c *SequenceCheck) Check(total int64) Check {
	check := Check{Lost: max(0, total-c.Arrived())}
	if c.wrong != nil {
		check.Twice, check.Disordered = c.wrong.twice, c.wrong.disordered
	}
	return check
}

// Check counts what must not happen.
type Check struct {
	Lost       int64 `json:"lost"`       // due to a subscription that has not received them
	Twice      int64 `json:"twice"`      // received again
	Disordered int64 `json:"disordered"` // received after one that came later
	Cut        int64 `json:"cut"`        // sockets that ended before their time
}

// Sound tells that nothing went wrong.
func (c Check) Sound() bool { return c == Check{} }

// Plus adds up two checks.
func (c Check) Plus(other Check) Check {
	return Check{c.Lost + other.Lost, c.Twice + other.Twice, c.Disordered + other.Disordered, c.Cut + other.Cut}
}
