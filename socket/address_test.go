package socket

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/internal/connlimit"
)

// TestConnectionsOfAnAddress: sessions of all transports and endpoints count for the client's
// address, which a proxy may name, and count no longer when they have ended.
func TestConnectionsOfAnAddress(t *testing.T) {
	shared := connlimit.NewAddresses(3, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	bubble(t, func(c *Config) { c.Addresses = shared }, connectionsOfAnAddress)
}

func connectionsOfAnAddress(t *testing.T, r *rig) {
	listener := r.serveInMemoryBy(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.RemoteAddr = "127.0.0.1:1" // the proxy's
		r.endpoint.ServeHTTP(w, req)
	}))
	header := func(req *http.Request, client string) {
		req.Header.Set("X-Forwarded-For", "198.51.100.7, "+client)
	}
	poll := func(client string) string {
		t.Helper()
		req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?vsn=2.0.0", nil)
		req.RemoteAddr = "127.0.0.1:1"
		header(req, client)
		w := httptest.NewRecorder()
		r.endpoint.ServeHTTP(w, req)
		return w.Body.String()
	}
	socket := func(from string) (int, *client) {
		t.Helper()
		req := upgrade("?vsn=2.0.0")
		header(req, from)
		resp, c := shakeOn(t, listener.Dial(), req)
		return resp.StatusCode, c
	}
	const one, other = "203.0.113.1", "203.0.113.2"
	_, first := socket(one)
	if status, _ := socket(one); status != 101 {
		t.Fatalf("the second is answered %d", status)
	}
	if body := poll(one); !strings.Contains(body, `"status":410`) {
		t.Fatalf("a long-poll is answered %s", body)
	}
	if body := poll(one); !strings.Contains(body, `"status":500`) {
		t.Errorf("a long-poll beyond the bound is answered %s", body)
	}
	if status, _ := socket(one); status != 503 {
		t.Errorf("a socket beyond the bound is answered %d", status)
	}
	if status, _ := socket(other); status != 101 {
		t.Errorf("another address is answered %d", status)
	}
	for _, info := range r.endpoint.List() {
		if info.RemoteAddr != one && info.RemoteAddr != other {
			t.Errorf("a socket comes from %s", info.RemoteAddr)
		}
	}
	first.Close()
	synctest.Wait()
	if n := r.endpoint.Sockets(); n != 3 {
		t.Errorf("once one has closed there are %d", n)
	}
	if status, _ := socket(one); status != 101 {
		t.Errorf("where one has closed another is answered %d", status)
	}
}
