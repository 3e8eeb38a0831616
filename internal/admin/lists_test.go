package admin_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/socket"
)

// named lets everyone in, by the name that they say.
func named(_ context.Context, r *socket.ConnectRequest) (*channels.Socket, error) {
	return &channels.Socket{ID: r.Params.Get("name")}, nil
}

func TestLists(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.WithService(func(*sluicetest.Config) {}, func(service *sluicetest.Service) error {
		service.OnConnect(named)
		_, err := service.Mount("/staff", named)
		return err
	}))
	expect := func(path, want string) {
		t.Helper()
		if status, body := node.Ask("GET", path); status != http.StatusOK || strings.TrimSpace(body) != want {
			t.Errorf("GET %s: %d %s", path, status, body)
		}
	}
	expect("/api/topics", `{"topics":[],"total":0}`)
	expect("/api/sockets", `{"sockets":[],"total":0}`)

	join := func(mount, name string, topics ...string) *sluicetest.Client {
		client := node.Connect(mount, "name="+name)
		client.Beat()
		for _, topic := range topics {
			client.Send(`["1","1","` + topic + `","phx_join",{}]`)
			client.Expect(`["1","1","` + topic + `","phx_reply",{"status":"ok","response":{}}]`)
		}
		return client
	}
	ann := join("/socket", "ann", "quiet", "busy", "calm")
	bob := join("/socket", "bob", "busy")
	eve := join("/staff", "eve")
	expect("/api/topics", `{"topics":[{"topic":"busy","channels":2,"rate":0},{"topic":"calm","channels":1,"rate":0},{"topic":"quiet","channels":1,"rate":0}],"total":3}`)
	expect("/api/topics?limit=1", `{"topics":[{"topic":"busy","channels":2,"rate":0}],"total":3}`)
	expect("/api/topics?limit=0", `{"topics":[],"total":3}`)

	var list struct {
		Sockets []socket.SocketInfo
		Total   int
	}
	read := func(path string) {
		t.Helper()
		_, body := node.Ask("GET", path)
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
	}
	read("/api/sockets")
	if len(list.Sockets) != 3 || list.Total != 3 {
		t.Fatalf("sockets: %+v", list)
	}
	for i, want := range []socket.SocketInfo{
		{ID: "ann", Mount: "/socket", Channels: 3},
		{ID: "bob", Mount: "/socket", Channels: 1},
		{ID: "eve", Mount: "/staff"},
	} {
		got := list.Sockets[i]
		if got.ID != want.ID || got.Mount != want.Mount || got.Channels != want.Channels || got.Transport != "websocket" ||
			!strings.HasPrefix(got.RemoteAddr, "127.0.0.1:") || time.Since(got.Opened) > time.Hour {
			t.Errorf("socket %d: %+v", i, got)
		}
	}
	if read("/api/sockets?limit=2"); len(list.Sockets) != 2 || list.Sockets[1].ID != "bob" || list.Total != 3 {
		t.Errorf("the two oldest: %+v", list)
	}
	for _, limit := range []string{"-1", "10001", "all"} {
		if status, body := node.Ask("GET", "/api/topics?limit="+limit); status != http.StatusBadRequest || !strings.Contains(body, "0 to 10000") {
			t.Errorf("limit %s: %d %s", limit, status, body)
		}
	}

	for id, want := range map[string]string{"ann": `{"closed":1}`, "nobody": `{"closed":0}`} {
		if status, body := node.Ask("DELETE", "/api/sockets/"+id); status != http.StatusOK || strings.TrimSpace(body) != want {
			t.Errorf("DELETE %s: %d %s", id, status, body)
		}
	}
	if code := ann.Closed(); code != 1001 {
		t.Errorf("ann's socket was closed with %d", code)
	}
	bob.Beat()
	eve.Beat()
}

func socketIDs(t *testing.T, n *sluicetest.Node) (ids []string) {
	t.Helper()
	var list struct{ Sockets []socket.SocketInfo }
	_, body := n.Ask("GET", "/api/sockets")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err, body)
	}
	for _, each := range list.Sockets {
		ids = append(ids, each.ID)
	}
	return ids
}

// TestEverySocketCanBeClosed closes sockets that have no name by the ids that
// the list gives them.
func TestEverySocketCanBeClosed(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	one, two := n.Connect("/socket", ""), n.Connect("/socket", "")
	one.Beat()
	two.Beat()
	ids := socketIDs(t, n)
	if len(ids) != 2 || ids[0] == "" || ids[0] == ids[1] {
		t.Fatal(ids)
	}
	for _, id := range []string{"", "socket:", "socket:.1", ids[0] + "0", strings.ToUpper(ids[0])} {
		if _, body := n.Ask("DELETE", "/api/sockets/"+id); strings.Contains(body, `"closed":1`) {
			t.Errorf("%q closed a socket", id)
		}
	}
	if status, body := n.Ask("DELETE", "/api/sockets/"+ids[0]); status != 200 || strings.TrimSpace(body) != `{"closed":1}` {
		t.Fatal(status, body)
	}
	if code := one.Closed(); code != 1001 {
		t.Fatal(code)
	}
	two.Beat()
}
