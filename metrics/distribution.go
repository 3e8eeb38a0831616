package metrics

import (
	"math"
	"time"
)

// Distribution is what a timing has seen, between its creation or an earlier
// look and a later one.
type Distribution struct {
	Count int64
	Sum   time.Duration

	counts [bounds + 1]int64 // of each bucket alone
}

// Distribution is what the timing has seen so far.
func (t *Timing) Distribution() (d Distribution) {
	if t == nil {
		return d
	}
	for i := range t.counts {
		d.counts[i] = int64(t.counts[i].Load())
		d.Count += d.counts[i]
	}
	d.Sum = seconds(math.Float64frombits(t.sum.Load()))
	return d
}

// Since is what has come between an earlier look and this one.
func (d Distribution) Since(earlier Distribution) Distribution {
	d.Count, d.Sum = d.Count-earlier.Count, d.Sum-earlier.Sum
	for i := range d.counts {
		d.counts[i] -= earlier.counts[i]
	}
	return d
}

// Quantile is how long no more than a part q of all, from 0 to 1, has taken: within
// a factor of two, as buckets are that wide, and even within one of them. Of nothing
// it is 0; beyond the last bucket it is that one's bound.
func (d Distribution) Quantile(q float64) time.Duration {
	if d.Count <= 0 {
		return 0
	}
	rank, before := q*float64(d.Count), 0.0
	low, high := time.Duration(0), firstBound
	for _, n := range d.counts[:bounds] {
		if n > 0 && before+float64(n) >= rank {
			return low + time.Duration(float64(high-low)*(rank-before)/float64(n))
		}
		before += float64(n)
		low, high = high, 2*high
	}
	return low
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
