package groupcommit_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicehq/sluice/store/internal/groupcommit"
)

// BenchmarkCallers tells how many writes concurrent callers share, on one processor, where
// each calls again as soon as it has its answer. Writes take no time: what they cost
// does not count, only how many there are.
func BenchmarkCallers(b *testing.B) {
	for _, callers := range []int{1, 2, 64, 500} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			b.ReportAllocs()
			b.ResetTimer()
			writes := callAgain(b, callers, b.N)
			b.ReportMetric(float64(writes)/float64(b.N), "writes/append")
		})
	}
}

// TestCallersThatWereJustToldShareTheNextWrite: on one processor none of them has run when
// the writer is done, and each would have a write of its own.
func TestCallersThatWereJustToldShareTheNextWrite(t *testing.T) {
	const callers, appends = 64, 6400
	if writes := callAgain(t, callers, appends); writes > appends/4 {
		t.Errorf("%d appends of %d callers took %d writes", appends, callers, writes)
	}
}

// callAgain has callers append one event after the other on one processor, and returns in how
// many writes. It changes GOMAXPROCS: no other test is to run meanwhile.
func callAgain(t testing.TB, callers, appends int) (writes int64) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var left atomic.Int64
	left.Store(int64(appends))
	g := groupcommit.New(func(context.Context, *groupcommit.Batch) error {
		writes++ // by one writer at a time
		return nil
	}, unbounded, nil)
	draft := drafts("topic")
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for left.Add(-1) >= 0 {
				if err := g.Append(t.Context(), draft); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	g.Close()
	return writes
}
