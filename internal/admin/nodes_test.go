package admin_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestAllNodesAreAsked has three nodes with clients, of which one is asked, and then one be
// silent.
func TestAllNodesAreAsked(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	setUp := func(*sluicetest.Service) error { return nil }
	nodes, buses := map[string]*sluicetest.Node{}, map[string]cluster.Bus{}
	for _, name := range []string{"a", "b", "c"} {
		buses[name] = net.Join(name)
		nodes[name] = sluicetest.Run(t, sluicetest.WithBus(buses[name], func(*sluicetest.Config) {}, setUp))
		client := nodes[name].Connect("/socket", "")
		for _, topic := range []string{"all", "of-" + name} {
			client.Send(`["1","1","` + topic + `","phx_join",{}]`)
			client.Expect(`["1","1","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
		}
	}
	a := nodes["a"]
	a.Eventually("all known", func() bool { return len(buses["a"].Nodes()) == 2 })
	read := func(path string, into any) {
		t.Helper()
		status, body := a.Ask("GET", path)
		if err := json.Unmarshal([]byte(body), into); status != 200 || err != nil {
			t.Fatalf("%s: %d %s, %v", path, status, body, err)
		}
	}
	var list struct {
		Nodes []struct {
			ID, Name, Version string
			Self              bool
		}
		Connected bool
	}
	read("/api/nodes", &list)
	if len(list.Nodes) != 3 || list.Nodes[0].Name != "a" || !list.Nodes[0].Self || list.Nodes[1].Self || list.Nodes[2].ID != buses["c"].Self().ID || !list.Connected {
		t.Errorf("the nodes are %+v", list)
	}
	type answer struct {
		Topics []struct {
			Topic    string
			Channels int
		}
		Sockets    []struct{ ID, Node string }
		Nodes      []struct{ Node string }
		Total      int
		Unanswered []struct{ Node, Reason string }
	}
	ask := func(path string) (got answer) {
		t.Helper()
		read(path, &got)
		return got
	}
	var topics, sockets, stats answer
	a.Eventually("all answer in time", func() bool {
		topics, sockets, stats = ask("/api/topics?nodes=all"), ask("/api/sockets?nodes=all"), ask("/api/stats?nodes=all")
		return len(topics.Unanswered)+len(sockets.Unanswered)+len(stats.Unanswered) == 0
	})
	if len(topics.Topics) != 4 || topics.Topics[0].Topic != "all" || topics.Topics[0].Channels != 3 || topics.Topics[3].Topic != "of-c" || topics.Total != 6 {
		t.Errorf("the topics are %+v", topics)
	}
	if len(sockets.Sockets) != 3 || sockets.Total != 3 || sockets.Sockets[0].Node != "a" || sockets.Sockets[2].Node != "c" || sockets.Sockets[1].ID == "" {
		t.Errorf("the sockets are %+v", sockets)
	}
	if len(stats.Nodes) != 3 || stats.Nodes[1].Node != "b" {
		t.Errorf("the statistics are %+v", stats)
	}
	a.Eventually("the limit counts for the sum", func() bool {
		topics = ask("/api/topics?nodes=all&limit=1")
		return len(topics.Unanswered) == 0
	})
	if len(topics.Topics) != 1 || topics.Topics[0].Channels != 3 {
		t.Errorf("the first topic is %+v", topics)
	}
	if own := ask("/api/topics"); len(own.Topics) != 2 || own.Total != 2 || own.Unanswered != nil {
		t.Errorf("the node's own topics are %+v", own)
	}
	for _, path := range []string{"/api/topics", "/api/sockets", "/api/stats"} {
		if status, body := a.Ask("GET", path+"?nodes=some"); status != 400 || !strings.Contains(body, "nodes=all") {
			t.Errorf("%s of some nodes: %d %s", path, status, body)
		}
	}

	net.Cut("a", "c") // it is not known yet
	if got := ask("/api/stats?nodes=all"); len(got.Nodes) == 3 || !slices.ContainsFunc(got.Unanswered, func(u struct{ Node, Reason string }) bool { return u.Node == "c" }) {
		t.Errorf("with c silent: %+v", got)
	}
	net.Away("a")
	if got := ask("/api/sockets?nodes=all"); got.Total != 1 || len(got.Unanswered) != 3 || !strings.Contains(got.Unanswered[0].Reason, "away") {
		t.Errorf("without a bus: %+v", got)
	}
	read("/api/nodes", &list)
	if list.Connected {
		t.Error("without a bus it is connected")
	}
}

// TestAnswersFitTheBus has a node be asked for more than the bus can carry, and for what
// makes no sense.
func TestAnswersFitTheBus(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	bus, asker := net.Join("a"), net.Join("asker")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- asker.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	n := sluicetest.Run(t, sluicetest.WithBus(bus, func(c *sluicetest.Config) { c.MaxChannels = 10_000 }, func(*sluicetest.Service) error { return nil }))
	client := n.Connect("/socket", "")
	const topics = 4000
	for i := range topics {
		topic := strings.Repeat("x", 240) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		client.Send(`["1","1","` + topic + `","phx_join",{}]`)
		client.Next()
	}
	n.Eventually("known", func() bool { return len(asker.Nodes()) == 1 })
	reply, err := asker.Request(t.Context(), bus.Self().ID, "admin.topics", []byte("10000"))
	var list struct {
		Topics []any
		Total  int
	}
	if err != nil || len(reply) > cluster.MaxData || json.Unmarshal(reply, &list) != nil || list.Total != topics || len(list.Topics) < topics/4 {
		t.Errorf("%d bytes, %d topics of %d, %v", len(reply), len(list.Topics), list.Total, err)
	}
	for _, limit := range []string{"", "-1", "10001", "many"} {
		if _, err := asker.Request(t.Context(), bus.Self().ID, "admin.topics", []byte(limit)); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("with the limit %q: %v", limit, err)
		}
	}
}
