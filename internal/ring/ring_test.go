package ring

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// TestRingAgainstModel plays random pushes and pops against a ring and a slice.
func TestRingAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r Ring[*int]
		var model []*int
		push := rapid.IntRange(1, 9).Draw(t, "pushes of ten")
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "step") < push {
				v := new(int)
				r.Push(v)
				model = append(model, v)
			} else if len(model) > 0 {
				if r.Pop() != model[0] {
					t.Fatal("popped another one than the oldest")
				}
				model = model[1:]
			}
			if r.Len() != len(model) {
				t.Fatalf("%d elements, want %d", r.Len(), len(model))
			}
			for i := range model {
				if *r.At(i) != model[i] {
					t.Fatalf("another one at %d of %d", i, len(model))
				}
			}
			kept := 0
			for _, v := range r.slots {
				if v != nil {
					kept++
				}
			}
			if kept != len(model) || len(r.slots) > 4*max(len(model), leastCapacity) {
				t.Fatalf("%d slots, %d in use, for %d elements", len(r.slots), kept, len(model))
			}
		}
	})
}
