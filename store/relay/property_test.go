package relay

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/store"
)

// step is one thing that happens to a cluster.
type step struct {
	kind   string
	node   int
	events int
	along  int
	size   int // of payloads
	faults clustertest.Faults
	pause  time.Duration
}

const members = 3

func drawPlan(t *rapid.T) []step {
	share := func(name string) float64 {
		return rapid.SampledFrom([]float64{0, 0, 0.05, 0.3, 1}).Draw(t, name)
	}
	var plan []step
	for range rapid.IntRange(1, 40).Draw(t, "steps") {
		s := step{
			kind:  rapid.SampledFrom([]string{"move", "move", "move", "move", "lead", "faults", "cut", "away", "heal", "deaf", "pause"}).Draw(t, "kind"),
			node:  rapid.IntRange(0, members-1).Draw(t, "node"),
			pause: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, 10 * time.Millisecond, time.Second, 4 * time.Second}).Draw(t, "pause"),
		}
		switch s.kind {
		case "move":
			s.events = rapid.SampledFrom([]int{1, 1, 2, 5, 100, 1000}).Draw(t, "events")
			s.along = rapid.SampledFrom([]int{0, 1, s.events}).Draw(t, "along")
			s.size = rapid.SampledFrom([]int{0, 0, 200, 50 << 10, maxPage + 1}).Draw(t, "size")
			if s.size > 1000 {
				s.events = min(s.events, 5)
				s.along = min(s.along, s.events)
			}
		case "faults":
			s.faults = clustertest.Faults{Drop: share("drop"), Repeat: share("repeat"), Reorder: share("reorder")}
			s.faults.Delay = rapid.SampledFrom([]time.Duration{0, 0, 20 * time.Millisecond, 5 * time.Second}).Draw(t, "delay")
		}
		plan = append(plan, s)
	}
	return plan
}

// TestEachOffsetOnceInOrder has readers on every node, whose bus loses, repeats, delays and
// reorders, is cut and goes away, while one node after another sequences: each of them
// gets each event once, in order, as it is in the log.
func TestEachOffsetOnceInOrder(t *testing.T) {
	t.Parallel()
	hits := int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		plan := drawPlan(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			var some int64
			problems, some = play(t, plan)
			hits += some
		})
		if len(problems) > 0 {
			rt.Fatalf("plan %+v: %v", plan, problems)
		}
	})
	if hits == 0 {
		t.Error("nothing was read from pages")
	}
}

// play carries out a plan, and returns what is wrong with what was read, and how many reads
// pages have answered.
func play(t *testing.T, plan []step) (problems []string, hits int64) {
	c := newCast(t, members, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var clock sync.WaitGroup
	clock.Go(func() { // the network's follows the bubble's, in steps of which each costs something
		const step = 25 * time.Millisecond
		for ctx.Err() == nil {
			time.Sleep(step)
			c.net.Advance(step)
		}
	})
	defer clock.Wait()
	defer cancel()

	var mu sync.Mutex
	var reading sync.WaitGroup
	reached := make([]int64, members)
	for i, m := range c.mine {
		reading.Go(func() {
			after, problem := m.follow(ctx)
			mu.Lock()
			defer mu.Unlock()
			reached[i] = after
			if problem != "" {
				problems = append(problems, fmt.Sprintf("node %d: %s", i, problem))
			}
		})
	}
	leader := 0
	for _, s := range plan {
		switch s.kind {
		case "move":
			payloads := make([][]byte, s.events)
			if s.size > 0 {
				for i := range payloads {
					payloads[i] = bytes.Repeat([]byte("x"), s.size)
				}
			}
			c.mine[leader].sequence(s.along, payloads...)
		case "lead":
			c.mine[leader].leads.Store(false)
			leader = s.node
			c.mine[leader].leads.Store(true)
		case "faults":
			c.net.SetFaults(s.faults)
		case "cut":
			c.net.Cut("node0", fmt.Sprintf("node%d", 1+s.node%2))
		case "away":
			c.net.Away(fmt.Sprintf("node%d", s.node))
		case "heal":
			c.net.Heal()
		case "deaf":
			c.mine[s.node].deaf.Store(!c.mine[s.node].deaf.Load())
		}
		time.Sleep(s.pause)
	}
	time.Sleep(3 * time.Second) // of the poll, whatever the bus does
	cancel()
	reading.Wait()
	for i, after := range reached {
		if head := int64(len(c.db.events)); after != head {
			problems = append(problems, fmt.Sprintf("node %d has come to %d of %d", i, after, head))
		}
		hits += c.mine[i].log.State().Hits
		if s := c.mine[i].log.State(); s.Bytes > MinBytes {
			problems = append(problems, fmt.Sprintf("node %d holds %d bytes", i, s.Bytes))
		}
	}
	return problems, hits
}

// follow reads as a producer does until ctx ends, and returns how far it has come.
func (m *member) follow(ctx context.Context) (after int64, problem string) {
	limit := store.Limit{Events: 500, Bytes: 1 << 20, Epoch: "first"}
	for full := false; ; {
		if !full { // that there is more need not be waited for
			if err := m.log.Wait(ctx, after); err != nil {
				return after, ""
			}
		}
		events, err := m.log.Fetch(ctx, after, limit)
		full = len(events) == limit.Events
		if err != nil {
			if ctx.Err() != nil {
				return after, ""
			}
			return after, err.Error()
		}
		for _, e := range events {
			m.db.mu.Lock()
			want := m.db.events[after]
			m.db.mu.Unlock()
			if after++; e.Offset != after || e.Topic != want.Topic || e.Name != want.Name || !bytes.Equal(e.Payload, want.Payload) || !e.InsertedAt.Equal(want.InsertedAt) {
				return after, fmt.Sprintf("got offset %d with %d bytes, want %d with %d", e.Offset, len(e.Payload), after, len(want.Payload))
			}
		}
	}
}
