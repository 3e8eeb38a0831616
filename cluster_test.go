package sluice_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
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

// Who is on a topic is told on all nodes, and nothing is left of a node that has stopped once
// its clients have come to another, or have not.
func TestPresenceCrossesNodes(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	change := func(c *sluicetest.Config) {
		c.Topics = []sluice.TopicRule{{Match: "room:*", Presence: sluice.PresenceRule{On: true, Key: sluice.PresenceKeyClient}}}
	}
	setUp := func(*sluicetest.Service) error { return nil }
	var nodes []*sluicetest.Node
	for _, name := range []string{"a", "b"} {
		nodes = append(nodes, sluicetest.Run(t, sluicetest.WithBus(net.Join(name), change, setUp)))
	}
	count := func(n *sluicetest.Node, want int) {
		t.Helper()
		n.Eventually(fmt.Sprint(want, " here"), func() bool {
			_, body := n.Ask("GET", "/api/presence/room:1?count=true")
			return strings.TrimSpace(body) == fmt.Sprintf(`{"topic":"room:1","count":%d}`, want)
		})
	}
	ann := arrive(t, nodes[0], "", `{"config":{"presence":{"key":"ann"}}}`)
	ann.expect(`["1",null,"room:1","presence_state",{"ann":{"metas":[{"phx_ref":"R1","online_at":"T"}]}}]`)
	count(nodes[1], 1)
	ben := arrive(t, nodes[1], "", `{"config":{"presence":{"key":"ben"}}}`)
	if state := ben.Next(); !strings.Contains(state, `"ann":{`) || !strings.Contains(state, `"ben":{`) {
		t.Errorf("who comes second is told %s", state)
	}
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{"ben":{"metas":[{"phx_ref":"R2","online_at":"T"}]}},"leaves":{}}]`)
	arrive(t, nodes[0], "", `{"config":{"presence":{"key":"cid"}}}`)
	count(nodes[1], 3)
	nodes[0].Stop()
	arrive(t, nodes[1], "", `{"config":{"presence":{"key":"ann"}}}`)
	nodes[1].Eventually("those two here who are left", func() bool {
		_, body := nodes[1].Ask("GET", "/api/presence/room:1")
		got := ben.plain(body)
		return strings.Contains(got, `"count":2}`) && strings.Count(got, "phx_ref") == 2 && strings.Contains(got, `"ann"`) && strings.Contains(got, `"ben"`)
	})
}
