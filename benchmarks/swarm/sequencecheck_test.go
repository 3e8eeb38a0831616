package swarm

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestSequenceCheck(t *testing.T) {
	t.Parallel()
	const total = 5
	for name, test := range map[string]struct {
		arrivals []int64
		want     Check
	}{
		"all":                  {[]int64{0, 1, 2, 3, 4}, Check{}},
		"none":                 {nil, Check{Lost: 5}},
		"the first lost":       {[]int64{1, 2, 3, 4}, Check{Lost: 1}},
		"some lost":            {[]int64{0, 3, 4}, Check{Lost: 2}},
		"the last lost":        {[]int64{0, 1, 2, 3}, Check{Lost: 1}},
		"one twice":            {[]int64{0, 1, 1, 2, 3, 4}, Check{Twice: 1}},
		"one twice, later":     {[]int64{0, 1, 2, 3, 4, 0}, Check{Twice: 1}},
		"one late":             {[]int64{0, 2, 3, 1, 4}, Check{Disordered: 1}},
		"one late, then again": {[]int64{0, 2, 3, 1, 1, 4}, Check{Disordered: 1, Twice: 1}},
		"within a gap":         {[]int64{4, 2}, Check{Lost: 3, Disordered: 1}},
		"backwards":            {[]int64{4, 3, 2, 1, 0}, Check{Disordered: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l SequenceCheck
			for _, n := range test.arrivals {
				l.Note(n)
			}
			if got := l.Check(total); got != test.want {
				t.Errorf("%v gives %+v, want %+v", test.arrivals, got, test.want)
			}
			if sound := l.Check(total).Sound(); sound != (test.want == Check{}) {
				t.Errorf("sound is %v", sound)
			}
		})
	}
}

// Whatever is left out, doubled and moved, the sequence check counts it as one that
// keeps everything does.
func TestSequenceCheckCountsAsASetDoes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(1, 40).Draw(t, "total")
		arrivals := rapid.SliceOf(rapid.Int64Range(0, total-1)).Draw(t, "arrivals")
		var want Check
		seen, highest := map[int64]bool{}, int64(-1)
		var l SequenceCheck
		for _, n := range arrivals {
			switch {
			case seen[n]:
				want.Twice++
			case n < highest:
				want.Disordered++
			}
			if fresh := l.Note(n); fresh == seen[n] {
				t.Fatalf("%d is fresh: %v", n, fresh)
			}
			seen[n], highest = true, max(highest, n)
		}
		want.Lost = total - int64(len(seen))
		if got := l.Check(total); got != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
	})
}

func BenchmarkLedger(b *testing.B) {
	b.ReportAllocs()
	var l SequenceCheck
	n := int64(rand.IntN(2))
	for b.Loop() {
		l.Note(n)
		n++
	}
}
