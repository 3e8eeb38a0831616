package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// A database that crashes takes nobody's connection with it: once it is back,
// what is inserted arrives where it did before.
func TestDatabaseCrashes(t *testing.T) {
	t.Parallel()
	server := pgtest.NewServer(t)
	url := server.Schema(t)
	s := serve(t, "--database-url", url).ready(t)
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)
	insert(t, database(t, url), "orders", `{"id":1}`)
	if got := c.payloads(t, 1)[0]; got != `created {"id":1}` {
		t.Fatalf("before the crash arrives %s", got)
	}

	server.Kill(t)
	s.awaitReadiness(t, http.StatusServiceUnavailable)
	if status, _ := s.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("without its database the service is not alive: %d", status)
	}
	if status, body := s.post(t, "/api/events", "application/json", `{"topic":"orders","event":"created","payload":{}}`); status < 500 {
		t.Errorf("without its database the service answers %d %s", status, body)
	}

	server.Start(t)
	s.ready(t)
	insert(t, database(t, url), "orders", `{"id":2}`, `{"id":3}`)
	for id, got := range c.payloads(t, 2) {
		if want := fmt.Sprintf(`created {"id":%d}`, id+2); got != want {
			t.Errorf("after the crash arrives %s, want %s", got, want)
		}
	}
}

// Two nodes on one database: each serves its own clients with everything,
// whichever of them sequences, also when that one is killed.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	db := database(t, url)
	var nodes []*service
	for _, name := range []string{"one", "two"} {
		nodes = append(nodes, serve(t, "--database-url", url, "--node", name))
	}
	var clients []*phoenix
	for _, node := range nodes {
		c := connect(t, node.ready(t).public, "phoenix18")
		c.join(t, "orders", map[string]any{"after": nil})
		clients = append(clients, c)
	}
	insert(t, db, "orders", `{"id":1}`, `{"id":2}`)
	for _, c := range clients {
		for i, got := range c.payloads(t, 2) {
			if want := fmt.Sprintf(`created {"offset":%d,"data":{"id":%d}}`, i+1, i+1); got != want {
				t.Errorf("arrived %s, want %s", got, want)
			}
		}
	}
	if err := nodes[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	nodes[0].wait(t)
	insert(t, db, "orders", `{"id":3}`)
	if got := clients[1].payloads(t, 1)[0]; got != `created {"offset":3,"data":{"id":3}}` {
		t.Errorf("with one node left arrived %s", got)
	}
}
