package admin_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

func TestMain(m *testing.M) {
	os.Exit(pgtest.Main(m))
}

func TestAdminAPI(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) { c.MaxBodyBytes = 1 << 10 }))
	lines := map[string]string{"Content-Type": "application/x-ndjson"}
	good := `{"topic":"a","event":"b","payload":{"x":1}}`
	for _, test := range []struct {
		name         string
		method, path string
		header       map[string]string
		body         string
		status       int
		want         string
	}{
		{"alive", "GET", "/healthz", nil, "", 200, `"alive"`},
		{"one event", "POST", "/api/events", nil, good, 202, `{"count":1}`},
		{"lines", "POST", "/api/events", lines, good + "\n" + good + "\n", 202, `{"count":2}`},
		{"no lines", "POST", "/api/events", lines, "", 202, `{"count":0}`},
		{"a bad line", "POST", "/api/events", lines, good + "\n{\"topic\":\"a\",\"event\":\"b\",\"payload\":[]}\n", 400, "line 2: payload"},
		{"a broken line", "POST", "/api/events", lines, good + "\n\n" + good[:9], 400, "line 3: "},
		{"too large", "POST", "/api/events", lines, strings.Repeat(good+"\n", 50), 413, "--max-body-bytes"},
		{"broadcast", "POST", "/api/broadcast", nil, good, 202, `{"count":1}`},
		{"a bad broadcast", "POST", "/api/broadcast", nil, `{"topic":"phoenix","event":"b"}`, 400, "topic"},
		{"metrics", "GET", "/metrics", nil, "", 200, "sluice_events_fetched_total"},
		{"no such thing", "GET", "/api/nothing", nil, "", 404, `"hint"`},
		{"not with that method", "GET", "/api/events", nil, "", 405, "it takes POST"},
		{"nobody's presence", "GET", "/api/presence/", nil, "", 404, `"hint"`},
		{"the description", "GET", "/api/openapi.yaml", nil, "", 200, "openapi: 3.1"},
		{"another site's page", "POST", "/api/events", map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, good, 403, "another web site"},
		{"another site's name", "GET", "/api/stats", map[string]string{"Host": "evil.example"}, "", 403, "evil.example"},
		{"by name", "GET", "/api/stats", map[string]string{"Host": "localhost:4001"}, "", 200, `"node"`},
		{"the console's own page", "GET", "/console/longpoll?vsn=2.0.0", map[string]string{"Origin": "http://" + n.Admin}, "", 200, `"status":410`},
		{"another port's page at the console", "GET", "/console/longpoll?vsn=2.0.0", map[string]string{"Origin": "http://" + n.Public}, "", 200, `"status":403`},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := n.Request(test.method, n.Admin, test.path, test.header, test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %s", status, body, test.status, test.want)
			}
		})
	}
	n.Eventually("routed", func() bool { return n.Stats().Position == 3 })                         // of the refused ones, nothing
	for host, want := range map[string]int{"evil.example": 403, "localhost": 200, n.Public: 200} { // anonymous, on loopback
		page := map[string]string{"Host": host, "Origin": "http://" + host}
		if status, body := n.Request("GET", n.Public, "/socket/longpoll?vsn=2.0.0", page, ""); status != want {
			t.Errorf("as %s: %d %s", host, status, body)
		}
		if status, _ := n.Request("GET", n.Public, "/healthz", page, ""); status != 200 {
			t.Errorf("health as %s: %d", host, status)
		}
	}
	if status, body := n.Request("GET", n.Public, "/nowhere", nil, ""); status != 404 || !strings.Contains(body, "/socket/websocket") {
		t.Errorf("public: %d %s", status, body)
	}
}

// TestTooMuchIsNotAskedFor has clients that wait to be asked for their body say that it is
// larger than it may be.
func TestTooMuchIsNotAskedFor(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) { c.MaxBodyBytes = 1 << 10 }))
	for _, path := range []string{"/api/events", "/api/broadcast", "/api/erase", "/api/revoke"} {
		for length, want := range map[int]int{1 << 10: http.StatusContinue, 1<<10 + 1: http.StatusRequestEntityTooLarge, 1 << 40: http.StatusRequestEntityTooLarge} {
			conn, err := net.Dial("tcp", n.Admin)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, length)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != want {
				t.Errorf("%s of %d bytes: %s, want %d", path, length, response.Status, want)
			}
		}
	}
}
