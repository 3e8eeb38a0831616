package chaos

import (
	"net"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
)

// Each pair of nodes has a link of its own, and what one is told of another's address
// leads past none of them.
func TestLinksAreAllThereIsBetweenNodes(t *testing.T) {
	t.Parallel()
	b, err := startBus(BusRoutes, 4, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if len(b.links) != 6 {
		t.Errorf("%d links between four nodes", len(b.links))
	}
	for i, s := range b.nodes {
		if len(s.ClusterRoutes) != i || len(b.of(i)) != 3 {
			t.Errorf("node %d has %d routes and %d links", i, len(s.ClusterRoutes), len(b.of(i)))
		}
		for _, other := range b.nodes {
			if s.ClusterAdvertise == other.ClusterListen || slices.Contains(s.ClusterRoutes, other.ClusterListen) {
				t.Errorf("node %d reaches another past its link: %+v", i, s)
			}
		}
		if conn, err := net.Dial("tcp", s.ClusterAdvertise); err == nil {
			conn.Close()
			t.Error("somebody listens where nobody should")
		}
	}
	seen := map[int]bool{}
	for whom := range uint64(100) {
		seen[len(b.some(whom))] = true
	}
	if len(seen) != 2 || !seen[1] || !seen[3] {
		t.Errorf("cuts of %v links: want one, or all of a node", seen)
	}
}

// NATS is away while it is stopped, and comes back where it was.
func TestNATSComesBack(t *testing.T) {
	t.Parallel()
	b, err := startBus(BusNATS, 2, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	connects := func() bool {
		conn, err := nats.Connect(b.nodes[1].NATSURL)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	if !connects() {
		t.Error("NATS cannot be reached through its link")
	}
	b.nats.stop()
	if connects() {
		t.Error("NATS is there though it was stopped")
	}
	if err := b.nats.start(); err != nil || !connects() {
		t.Errorf("NATS does not come back: %v", err)
	}
}

// A run strikes what it has, and what it was asked for.
func TestKindsAreThoseOfTheRun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		chaos Chaos
		want  int
	}{
		"two nodes":             {Chaos{Nodes: 2}, Kinds},
		"three":                 {Chaos{Nodes: 3}, Kinds + len(clusterFaults)},
		"three without a bus":   {Chaos{Nodes: 3, Bus: BusNone}, Kinds},
		"two with one":          {Chaos{Nodes: 2, Bus: BusNATS}, Kinds + len(clusterFaults)},
		"another's database":    {Chaos{Nodes: 3, DatabaseURL: "postgres://"}, len(outsideFaults) + len(clusterFaults)},
		"some":                  {Chaos{Nodes: 3, Only: NodeFaults()}, len(NodeFaults())},
		"some that it has not":  {Chaos{Nodes: 2, Only: []string{string(busCut), string(nodeKilled)}}, 1},
		"on the embedded store": {Chaos{Nodes: 1, Embedded: true}, EmbeddedKinds},
	} {
		if got := test.chaos.kinds(); len(got) != test.want {
			t.Errorf("%s: %d kinds of faults, want %d: %v", name, len(got), test.want, got)
		}
	}
}
