package postgres

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/store"
)

// TestSeenWithinTenSeconds adds up how late it can be, by what is waited for, that a log which
// is asked each second says what keeps it from its work.
func TestSeenWithinTenSeconds(t *testing.T) {
	t.Parallel()
	const (
		asked   = time.Second
		renewed = 5 * time.Second // a third of a lease's term
		retried = time.Second     // renewals, and positions
	)
	for name, late := range map[string]time.Duration{
		"rows that wait":          usualQuiet + store.MaxStall + DefaultPollInterval,
		"rows that wait, at rest": watcherRest + store.MaxStall + DefaultPollInterval,
		"a right":                 vetPause,
		"a lease is refused":      renewed + maxFailing + retried,
		"a lease hangs":           renewed + maxWriting,
		"a position is refused":   retried + maxFailing + retried,
		"a position hangs":        retried + maxWriting,
	} {
		if late += asked + blameTimeout; late > 10*time.Second {
			t.Errorf("%s: seen after up to %v", name, late)
		}
	}
}
