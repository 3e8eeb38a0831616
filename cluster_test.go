package sluice_test

import (
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestServicesShareABus has three nodes know each other while they run, and one of them
// leave the others when it has stopped.
func TestServicesShareABus(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	change := func(*sluicetest.Config) {}
	setUp := func(*sluicetest.Service) error { return nil }
	var buses []cluster.Bus
	var nodes []*sluicetest.Node
	for _, name := range []string{"a", "b", "c"} {
		bus := net.Join(name)
		buses = append(buses, bus)
		nodes = append(nodes, sluicetest.Run(t, sluicetest.WithBus(bus, change, setUp)))
	}
	for i, bus := range buses {
		nodes[i].Eventually("two others known", func() bool { return len(bus.Nodes()) == 2 })
	}
	nodes[2].Stop()
	if got := buses[0].Nodes(); len(got) != 1 || got[0].Name != "b" {
		t.Errorf("a knows %v", got)
	}
}
