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
