package arena_test

import (
	"bytes"
	"testing"

	"github.com/sluicehq/sluice/store/internal/arena"
)

func TestKeptBytesStay(t *testing.T) {
	t.Parallel()
	var a arena.Arena
	if a.Keep(nil) != nil || a.Keep([]byte{}) == nil {
		t.Error("nil and empty are not told apart")
	}
	var kept [][]byte
	scratch := make([]byte, 600<<10)
	for i := range 2000 {
		part := scratch[:i]
		if i%500 == 499 {
			part = scratch // more than a chunk
		}
		for j := range part {
			part[j] = byte(i)
		}
		kept = append(kept, a.Keep(part))
		_ = append(kept[i], 'x') // must not reach the next one
	}
	for i, part := range kept {
		if !bytes.Equal(part, bytes.Repeat([]byte{byte(i)}, len(part))) {
			t.Fatalf("part %d has changed", i)
		}
	}
}

// TestForecastMakesRoomForABatch counts allocations, which nothing else may make
// meanwhile: it is not parallel.
func TestForecastMakesRoomForABatch(t *testing.T) {
	var f arena.Forecast
	part := make([]byte, 143)
	batch := func(events int) int {
		a := f.Arena(events)
		for range events {
			a.Keep(part)
		}
		f.Learn(events, &a)
		return events
	}
	batch(500)
	for _, events := range []int{1, 100, 500} {
		if n := testing.AllocsPerRun(10, func() { batch(events) }); n != 1 {
			t.Errorf("%d events like those before took %v allocations", events, n)
		}
	}
	if n := f.Events(100 * 143); n < 90 || n > 100 {
		t.Errorf("%d of such events fit where 100 do", n)
	}
	f.Learn(0, &arena.Arena{}) // says nothing
	if n := testing.AllocsPerRun(10, func() { batch(500) }); n != 1 {
		t.Errorf("a batch after an empty one took %v allocations", n)
	}
}
