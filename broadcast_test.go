package sluice_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// member is a node of a cluster.
type member struct {
	*sluicetest.Node
	service *sluice.Service
	bus     cluster.Bus
}

// members runs nodes that know each other, each with a store of its own unless change
// gives them one.
func members(t *testing.T, net *clustertest.Net, change func(*sluice.Config), names ...string) []*member {
	t.Helper()
	var buses []cluster.Bus
	for _, name := range names {
		buses = append(buses, net.Join(name))
	}
	return membersOn(t, change, buses...)
}

// membersOn is members, with a bus for each.
func membersOn(t *testing.T, change func(*sluice.Config), buses ...cluster.Bus) []*member {
	t.Helper()
	var all []*member
	for _, bus := range buses {
		m := &member{bus: bus}
		m.Node = sluicetest.Run(t, sluicetest.WithBus(m.bus, change, func(s *sluice.Service) error {
			m.service = s
			return s.Handle("others:*", func() sluice.Channel { return &toOthers{} })
		}))
		all = append(all, m)
	}
	for _, m := range all {
		m.Eventually("the others known", func() bool { return len(m.bus.Nodes()) == len(buses)-1 })
	}
	return all
}

// toOthers is a channel whose client's pushes go to all but that client.
type toOthers struct{}

func (*toOthers) Join(*sluice.Context, sluice.Payload) (any, error) { return nil, nil }

func (*toOthers) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	if err := ctx.BroadcastFrom(event, payload); err != nil {
		return sluice.Error(sluice.Reason(err.Error()))
	}
	return sluice.OK(nil)
}

// joined returns a client of the node that has joined a topic.
func (m *member) joined(topic string) *sluicetest.Client {
	client := m.Connect("/socket", "")
	client.Send(fmt.Sprintf(`["1","1","%s","phx_join",{}]`, topic))
	client.Expect(fmt.Sprintf(`["1","1","%s","phx_reply",{"status":"ok","response":{}}]`, topic))
	return client
}

// metric is the value of a metric without labels of its own.
func (m *member) metric(t *testing.T, name string) (value string) {
	t.Helper()
	_, text := m.Ask("GET", "/metrics")
	found := regexp.MustCompile(`(?m)^` + name + `(?:\{[^}]*\})? (\S+)$`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no metric %s", name)
	}
	return found[1]
}

// listens waits until a node hears so many subjects of broadcasts.
func (m *member) listens(t *testing.T, subjects string) {
	t.Helper()
	m.Eventually("listening", func() bool { return m.metric(t, "sluice_broadcasts_subjects") == subjects })
}

// quiet checks that nothing more comes to a client.
func quiet(clients []*sluicetest.Client) {
	for _, c := range clients {
		c.Beat()
	}
}

// TestBroadcastsReachAllNodes broadcasts in every way there is, from every node, and has
// each client on each node get it once though the bus brings everything twice.
func TestBroadcastsReachAllNodes(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	all := members(t, net, func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "*", Publish: sluice.PublishBroadcast}}
	}, "a", "b", "c")
	var room, others []*sluicetest.Client
	for _, m := range all {
		room, others = append(room, m.joined("room:1")), append(others, m.joined("others:1"))
		m.listens(t, "2")
	}
	net.SetFaults(clustertest.Faults{Repeat: 1})
	for at, m := range all {
		if err := m.service.Broadcast("room:1", "go", map[string]int{"n": at}); err != nil {
			t.Fatal(err)
		}
		for _, c := range room {
			c.Expect(fmt.Sprintf(`[null,null,"room:1","go",{"n":%d}]`, at))
		}
		lines := "{\"topic\":\"room:1\",\"event\":\"one\",\"payload\":{}}\n{\"topic\":\"others:1\",\"event\":\"two\",\"payload\":{}}\n{\"topic\":\"room:1\",\"event\":\"three\",\"payload\":{}}\n"
		status, answer := m.Request("POST", m.Admin, "/api/broadcast", map[string]string{"Content-Type": "application/x-ndjson"}, lines)
		if status != 202 || strings.TrimSpace(answer) != `{"count":3}` {
			t.Fatalf("%d %s", status, answer)
		}
		for i := range all {
			room[i].Expect(`[null,null,"room:1","one",{}]`)
			room[i].Expect(`[null,null,"room:1","three",{}]`)
			others[i].Expect(`[null,null,"others:1","two",{}]`)
		}
		room[at].Send(`["1","7","room:1","pushed",{"by":"a client"}]`)
		for i, c := range room {
			c.Expect(`[null,null,"room:1","pushed",{"by":"a client"}]`)
			if i == at {
				c.Expect(`["1","7","room:1","phx_reply",{"status":"ok","response":{}}]`)
			}
		}
		others[at].Send(`["1","8","others:1","seen",{}]`)
		for i, c := range others {
			if i == at {
				c.Expect(`["1","8","others:1","phx_reply",{"status":"ok","response":{}}]`)
			} else {
				c.Expect(`[null,null,"others:1","seen",{}]`)
			}
		}
	}
	net.Settle()
	quiet(slices.Concat(room, others))
}

// TestBroadcastOfBytes has binary payloads reach those who can read them, by the rules of
// their own node.
func TestBroadcastOfBytes(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	all := members(t, net, func(*sluice.Config) {}, "a", "b")
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+all[1].Public+"/socket/websocket?vsn=2.0.0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := wsutil.WriteClientText(conn, []byte(`["1","1","room:1","phx_join",{}]`)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(sluicetest.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, op, err := wsutil.ReadServerData(conn); err != nil || op != ws.OpText { // the join's answer
		t.Fatal(op, err)
	}
	all[1].listens(t, "1")
	if err := all[0].service.Broadcast("room:1", "bytes", sluice.Binary{0, 255}); err != nil {
		t.Fatal(err)
	}
	got, op, err := wsutil.ReadServerData(conn)
	if err != nil || op != ws.OpBinary || string(got) != "\x02\x06\x05room:1bytes\x00\xff" {
		t.Errorf("it has %q, %v", got, err)
	}
}

// busyBus takes nothing to be published, from when it is told to.
type busyBus struct {
	cluster.Bus
	busy atomic.Bool
}

func (b *busyBus) Publish(subject string, data []byte) error {
	if b.busy.Load() {
		return cluster.ErrBusy
	}
	return b.Bus.Publish(subject, data)
}

// TestBroadcastOnABusyBus has a bus take nothing more: in every way, whoever asks is told to
// try again, and nobody is sent anything.
func TestBroadcastOnABusyBus(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	busy := &busyBus{Bus: net.Join("a")}
	all := membersOn(t, func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "*", Publish: sluice.PublishBroadcast}}
	}, busy, net.Join("b"))
	client, other := all[0].joined("room:1"), all[0].joined("others:1")
	all[0].listens(t, "2")
	busy.busy.Store(true)
	if err := all[0].service.Broadcast("room:1", "e", nil); !errors.Is(err, sluice.ErrClusterBusy) {
		t.Errorf("Broadcast says %v", err)
	}
	status, answer := all[0].Request("POST", all[0].Admin, "/api/broadcast", nil, `{"topic":"room:1","event":"e","payload":{}}`)
	if status != 503 || !strings.Contains(answer, "nothing was sent") || !strings.Contains(answer, "try again") {
		t.Errorf("%d %s", status, answer)
	}
	client.Send(`["1","7","room:1","pushed",{}]`)
	if got := client.Next(); !strings.Contains(got, `"status":"error"`) {
		t.Errorf("a push is answered %s", got)
	}
	other.Send(`["1","7","others:1","pushed",{}]`)
	if got := other.Next(); !strings.Contains(got, sluice.ErrClusterBusy.Error()) {
		t.Errorf("BroadcastFrom says %s", got)
	}
	quiet([]*sluicetest.Client{client, other})
}

// TestBroadcastWithoutABus has nothing be done at all while a node has no bus: in every
// way, whoever asks is told, and nobody is sent anything.
func TestBroadcastWithoutABus(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	all := members(t, net, func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "*", Publish: sluice.PublishBroadcast}}
	}, "a", "b")
	client, other := all[0].joined("room:1"), all[0].joined("others:1")
	all[0].listens(t, "2")
	net.Away("a")
	if err := all[0].service.Broadcast("room:1", "e", nil); !errors.Is(err, sluice.ErrClusterAway) {
		t.Errorf("Broadcast says %v", err)
	}
	status, answer := all[0].Request("POST", all[0].Admin, "/api/broadcast", nil, `{"topic":"room:1","event":"e","payload":{}}`)
	if status != 503 || !strings.Contains(answer, "nothing was sent") {
		t.Errorf("%d %s", status, answer)
	}
	client.Send(`["1","7","room:1","pushed",{}]`)
	client.Expect(`["1","7","room:1","phx_reply",{"status":"error","response":{"reason":"unavailable"}}]`)
	other.Send(`["1","7","others:1","pushed",{}]`)
	if got := other.Next(); !strings.Contains(got, `"status":"error"`) || !strings.Contains(got, sluice.ErrClusterAway.Error()) {
		t.Errorf("BroadcastFrom says %s", got)
	}
	quiet([]*sluicetest.Client{client, other})
	net.Heal()
	if err := all[0].service.Broadcast("room:1", "e", nil); err != nil {
		t.Error(err)
	}
	client.Expect(`[null,null,"room:1","e",{}]`)
}

// TestBroadcastTooLargeForTheBus has what other nodes cannot be sent be refused to all, in
// every way, also while there are no others.
func TestBroadcastTooLargeForTheBus(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	a := members(t, net, func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "*", Publish: sluice.PublishBroadcast}}
		c.MaxMessageBytes = 2 << 20
	}, "a")[0]
	client := a.joined("room:1")
	text := strings.Repeat("x", cluster.MaxData)
	invalid := new(sluice.InvalidError)
	if err := a.service.Broadcast("room:1", "e", map[string]string{"text": text}); !errors.As(err, &invalid) || invalid.Field != "payload" {
		t.Errorf("Broadcast says %v", err)
	}
	status, answer := a.Request("POST", a.Admin, "/api/broadcast", map[string]string{"Content-Type": "application/x-ndjson"},
		`{"topic":"room:1","event":"e","payload":{}}`+"\n"+`{"topic":"room:1","event":"e","payload":{"text":"`+text+`"}}`)
	if status != 400 || !strings.Contains(answer, "nothing was done") || !strings.Contains(answer, "line 2: payload has") {
		t.Errorf("%d %s", status, answer)
	}
	client.Send(`["1","7","room:1","e",{"text":"` + text + `"}]`)
	client.Expect(`["1","7","room:1","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`)
	quiet([]*sluicetest.Client{client})
}

// TestNodesThatAreNotReached has whoever broadcasts or disconnects be told which nodes
// serve and do not hear this one, as long as that is so.
func TestNodesThatAreNotReached(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	url := pgtest.Schema(t)
	all := members(t, net, func(c *sluice.Config) { c.DatabaseURL = url }, "a", "b", "c")
	client := all[0].joined("room:1")
	tell := func() (unreached []string) {
		err := all[0].service.Broadcast("room:1", "e", nil)
		if e := new(sluice.UnreachedError); errors.As(err, &e) {
			unreached = e.Nodes
		} else if err != nil {
			t.Fatal(err)
		}
		client.Expect(`[null,null,"room:1","e",{}]`)
		return unreached
	}
	if got := tell(); got != nil {
		t.Errorf("not reached: %q", got)
	}
	net.Cut("a", "c")
	net.Advance(cluster.NodeTimeout)
	all[0].Eventually("c missed", func() bool { return slices.Equal(tell(), []string{"c"}) })
	// On a busy machine a lease may lapse for a moment, and b not answer in time.
	all[0].Eventually("told of c where it was broadcast", func() bool {
		status, answer := all[0].Request("POST", all[0].Admin, "/api/broadcast", nil, `{"topic":"room:1","event":"f"}`)
		client.Expect(`[null,null,"room:1","f",{}]`)
		return status == 202 && strings.TrimSpace(answer) == `{"count":1,"unreached":["c"]}`
	})
	disconnecting := func(want string) {
		t.Helper()
		all[0].Eventually(want, func() bool {
			status, answer := all[0].Ask("DELETE", "/api/sockets/nobody")
			return status == 200 && strings.TrimSpace(answer) == want
		})
	}
	disconnecting(`{"closed":0,"unreached":["c"]}`)
	net.Away("a")
	disconnecting(`{"closed":0,"unreached":["b","c"]}`)
	net.Heal()
	all[0].Eventually("all reached", func() bool { return len(all[0].bus.Nodes()) == 2 && tell() == nil })
	all[2].Stop() // it gives its name back
	all[0].Eventually("b alone", func() bool { return len(all[0].bus.Nodes()) == 1 && tell() == nil })
}

// TestDisconnectOnAllNodes closes the sockets of one id wherever they are, and no others.
func TestDisconnectOnAllNodes(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	var all []*member
	for _, name := range []string{"a", "b", "c"} {
		m := &member{bus: net.Join(name)}
		m.Node = sluicetest.Run(t, sluicetest.WithBus(m.bus, func(*sluice.Config) {}, func(s *sluice.Service) error {
			m.service = s
			s.OnConnect(whoSays)
			return nil
		}))
		all = append(all, m)
	}
	for _, m := range all {
		m.Eventually("the others known", func() bool { return len(m.bus.Nodes()) == 2 })
	}
	connect := func(id string) (clients []*sluicetest.Client) {
		for _, m := range all {
			c := m.Connect("/socket", "id="+id)
			c.Beat()
			clients = append(clients, c)
		}
		return clients
	}
	others := connect("eve")
	closed := func(clients []*sluicetest.Client) {
		t.Helper()
		for _, c := range clients {
			if code := c.Closed(); code != 1001 {
				t.Errorf("closed with %d", code)
			}
		}
	}
	attempts := 0
	// everywhere disconnects an id that has a socket on each node: another one again, if a node
	// has not answered in time.
	everywhere := func(disconnect func(id string) (n int, late bool)) {
		t.Helper()
		all[0].Eventually("closed everywhere", func() bool {
			attempts++
			id := fmt.Sprint("ann", attempts)
			clients := connect(id)
			n, late := disconnect(id)
			if late {
				return false
			}
			if n != 3 {
				t.Fatalf("%d were closed", n)
			}
			closed(clients)
			return true
		})
	}
	everywhere(func(id string) (n int, late bool) {
		n, err := all[0].service.DisconnectContext(t.Context(), id)
		if unreached := new(sluice.UnreachedError); err != nil && !errors.As(err, &unreached) {
			t.Fatal(err)
		}
		return n, err != nil
	})
	everywhere(func(id string) (n int, late bool) {
		n = all[1].service.Disconnect(id)
		return n, n < 3
	})
	everywhere(func(id string) (n int, late bool) {
		status, answer := all[2].Ask("DELETE", "/api/sockets/"+id)
		if late = strings.Contains(answer, "unreached"); !late && (status != 200 || strings.TrimSpace(answer) != `{"closed":3}`) {
			t.Fatalf("%d %s", status, answer)
		}
		return 3, late
	})
	quiet(others)
}

// whoSays lets everybody in by the id that they give.
func whoSays(_ context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
	return &sluice.Socket{ID: r.Params.Get("id")}, nil
}
