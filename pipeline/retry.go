package pipeline

import (
	"context"
	"time"
)

// Forever, as Retry.Attempts, never gives up.
const Forever = -1

// Retry says how often a handler that returned an error or panicked is called
// again, with the same events, and how long to wait before.
type Retry struct {
	// Attempts is how often it is called in all. Zero is three times for a handler of
	// events, and Forever for a demand handler, which ends its producer when it gives up.
	Attempts int
	// Min is the wait before the second attempt, doubled for each further one up to
	// Max. Zero is 10 ms and 5 s: shorter hammers what just failed, longer keeps the
	// line's demand waiting.
	Min, Max time.Duration
	// Whole gives up a batch as it is. Otherwise its events are tried once more one by
	// one, so that only the poisoned ones fail.
	Whole bool
}

func (r Retry) orElse(d Retry) Retry {
	if r == (Retry{}) {
		r = d
	}
	if r.Attempts == 0 {
		r.Attempts = d.Attempts
	}
	if r.Min <= 0 {
		r.Min = 10 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = max(r.Min, 5*time.Second)
	}
	return r
}

// gaveUp tells whether no attempt follows the given number of them.
func (r Retry) gaveUp(attempts int) bool { return r.Attempts >= 0 && attempts >= r.Attempts }

// wait is how long to wait after the given number of attempts.
func (r Retry) wait(attempts int) time.Duration {
	d := r.Min
	for ; attempts > 1 && d < r.Max; attempts-- {
		d *= 2
	}
	return min(d, r.Max)
}

// sleep waits, and tells whether ctx still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
