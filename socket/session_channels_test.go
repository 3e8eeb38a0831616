package socket

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/channels"
)

// TestJoinedChannels compares them with a map.
func TestJoinedChannels(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 0))
		var r joinedChannels
		want := make(map[string]*channels.Actor)
		for range 50 {
			topic := fmt.Sprint(random.IntN(5))
			if got := r.find(topic); got != want[topic] {
				t.Fatalf("found %p instead of %p", got, want[topic])
			}
			if want[topic] != nil {
				delete(want, topic)
				r.remove(topic)
			} else {
				want[topic] = new(channels.Actor)
				r.add(topic, want[topic])
			}
			all := r.all()
			if r.len() != len(want) || len(all) != len(want) {
				t.Fatalf("%d of %d channels", r.len(), len(want))
			}
			for a := range maps.Values(want) {
				if !slices.Contains(all, a) {
					t.Fatal("a channel is missing")
				}
			}
		}
	}
}
