package benchmarks

// Ledger is what one subscription has received of a topic whose events are
// numbered from 0. It needs memory only for what is missing. The zero value is
// ready; it is for one goroutine at a time.
type Ledger struct {
	next       int64  // all below have arrived, but for what is missing
	missing    []span // passed over so far, in order
	twice      int64
	disordered int64
}

// span is the numbers from first up to, not including, end.
type span struct{ first, end int64 }

// Note enters the arrival of a number.
func (l *Ledger) Note(n int64) {
	switch {
	case n == l.next:
		l.next++
	case n > l.next:
		l.missing = append(l.missing, span{l.next, n})
		l.next = n + 1
	case l.found(n):
		l.disordered++
	default:
		l.twice++
	}
}

// found strikes n off what is missing, and tells whether it was.
func (l *Ledger) found(n int64) bool {
	for i, s := range l.missing {
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
		l.missing = append(l.missing[:i], append(left, l.missing[i+1:]...)...)
		return true
	}
	return false
}

// Arrived is how many different numbers have arrived.
func (l *Ledger) Arrived() int64 {
	arrived := l.next
	for _, s := range l.missing {
		arrived -= s.end - s.first
	}
	return arrived
}

// Check says what went wrong, when total events were due.
func (l *Ledger) Check(total int64) Check {
	return Check{Lost: max(0, total-l.Arrived()), Twice: l.twice, Disordered: l.disordered}
}

// Check counts what must not happen.
type Check struct {
	Lost       int64 `json:"lost"`       // due to a subscription that has not received them
	Twice      int64 `json:"twice"`      // received again
	Disordered int64 `json:"disordered"` // received after one that came later
	Cut        int64 `json:"cut"`        // sockets that ended before all had arrived
}

// Sound tells that nothing went wrong.
func (c Check) Sound() bool { return c == Check{} }

func (c Check) plus(other Check) Check {
	return Check{c.Lost + other.Lost, c.Twice + other.Twice, c.Disordered + other.Disordered, c.Cut + other.Cut}
}
