package e2e

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/benchmarks/chaos"
)

// raceOverhead is how much more memory a program may need that the race
// detector watches: five to ten times as much, says its manual.
const raceOverhead = 10

// Each kind of fault strikes once, in an order that a seed has drawn, while two
// nodes serve clients of every kind: all get everything once and in order, and
// no node needs more memory than it may. A longer form: sluice bench chaos.
func TestChaos(t *testing.T) {
	t.Parallel()
	s := chaos.Default()
	s.Program = sluice
	// A node that is still starting, on a machine that is slow, while rights are
	// missing ends with what is missing, as it should: the tests of rights have both.
	s.Spared = []string{"rights revoked", "rows hidden by row-level security"}
	s.Seed, s.For, s.Faults = 7, 0, chaos.Kinds-len(s.Spared)
	s.Topics, s.Sockets, s.Writers = 7, 16, 4
	injected(t, s)
}

// The same on the embedded store, which has faults of its own, and one node.
func TestChaosOnTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	s := chaos.Default()
	s.Program, s.Embedded, s.Nodes = sluice, true, 1
	s.Seed, s.For, s.Faults = 7, 0, chaos.EmbeddedKinds
	s.Topics, s.Sockets, s.Writers = 7, 16, 4
	injected(t, s)
}

// injected runs chaos: so many faults, and everything is as it must be.
func injected(t *testing.T, s *chaos.Chaos) {
	t.Helper()
	s.Outage = time.Second
	s.Pause = 100 * time.Millisecond // more rows would meet no more of the faults
	s.Spacing = 150
	s.Log = t.Output()
	if raceEnabled {
		s.Overhead = raceOverhead
	}
	r, err := s.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteTable(t.Output()); err != nil {
		t.Error(err)
	}
	if !r.Sound() {
		t.Errorf("%+v; %s", r.Check, r.Broken)
	}
	for _, figure := range r.Figures {
		if figure.Name == "faults" && figure.Value != int64(s.Faults) {
			t.Errorf("%v faults struck, want %d", figure.Value, s.Faults)
		}
	}
	if r.Events == 0 || r.Deliveries < r.Events {
		t.Errorf("%d events and %d deliveries: was anybody there?", r.Events, r.Deliveries)
	}
}
