package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"testing"
)

// stall opens a connection on which a request stops: its body does not come, and
// what is answered is not read.
func stall(t testing.TB, address, method, path string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n", method, path); err != nil {
		t.Fatal(err)
	}
}

// Clients whose requests stop take all connections there are. Their sessions are
// listed, can be closed, and then make room; and a service that is told to stop
// waits for no request of theirs.
func TestStalledRequestsHoldNothing(t *testing.T) {
	t.Parallel()
	const most = 10
	s := serve(t, "--data-dir", t.TempDir(), "--max-connections", fmt.Sprint(most)).ready(t)
	for range most {
		p := begin(t, s.public)
		stall(t, s.public, "POST", p.path())
		stall(t, s.public, "GET", p.path())
		stall(t, s.public, "POST", p.path())
	}
	if answer := get(t, s.public, longpoll, nil); answer.Status != 500 {
		t.Fatalf("one more is answered %+v", answer)
	}
	_, body := s.get(t, "/api/sockets")
	var list struct{ Sockets []struct{ ID string } }
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Sockets) != most {
		t.Fatalf("%s: %v", body, err)
	}
	for _, socket := range list.Sockets {
		if status, body := s.ask(t, "DELETE", "/api/sockets/"+socket.ID, "", ""); status != 200 || body != "{\"closed\":1}\n" && body != `{"closed":1}` {
			t.Errorf("closing %s is answered %d %s", socket.ID, status, body)
		}
	}
	s.await(t, "/api/sockets", func(_ int, body string) bool {
		return json.Unmarshal([]byte(body), &list) == nil && len(list.Sockets) == 0
	})
	p := begin(t, s.public)

	for _, path := range []string{"/", "/healthz", "/socket/longpoll", "/socket/websocket", "/nowhere", p.path()} {
		stall(t, s.public, "POST", path)
		stall(t, s.public, "GET", path)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/api/events", "/api/broadcast", "/api/sockets", "/console/longpoll", "/nowhere"} {
		stall(t, s.admin, "POST", path)
		stall(t, s.admin, "GET", path)
	}
	if code := s.stop(t); code != 0 {
		t.Errorf("the service ended with status %d", code)
	}
}
