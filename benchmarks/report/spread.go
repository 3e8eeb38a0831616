package report

import (
	"fmt"
	"slices"
)

// Spread is the median of some values, with the range that the true median is in
// with a probability of 95 % at least, whatever the values' distribution: the
// interval of order statistics. With fewer values than that takes, it is the range
// of all.
type Spread struct {
	Low  float64 `json:"low"`
	Mid  float64 `json:"median"`
	High float64 `json:"high"`
	N    int     `json:"n"`
}

// SpreadOf is the spread of some values; nil if there are none.
func SpreadOf(values []float64) *Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return nil
	}
	k := rank(n)
	return &Spread{Low: sorted[k], Mid: Median(sorted), High: sorted[n-1-k], N: n}
}

// rank is the largest k for which the median lies between the k-th value from
// below and from above, from 0, with that probability: at most 2.5 % that k or
// fewer of n values are below the median, each with a half.
func rank(n int) (k int) {
	below, term := 0.0, 1.0
	for range n {
		term /= 2
	}
	for i := 0; i < n/2; i++ {
		below += term
		if below > 0.025 {
			break
		}
		k = i
		term = term * float64(n-i) / float64(i+1)
	}
	return k
}

// surest is how many values it takes to be that sure.
const surest = 6

// String writes it for reading.
func (s *Spread) String() string {
	kind := "95 %"
	if s.N < surest {
		kind = "range"
	}
	return fmt.Sprintf("%.3f (%s: %.3f to %.3f, of %d)", s.Mid, kind, s.Low, s.High, s.N)
}

// Median is the middle one of some values.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
