package e2e

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// TestConnecting goes through what the protocol says of the handshake, with
// requests that stock clients make and others that they never do.
func TestConnecting(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	const path = "/socket/websocket?vsn=2.0.0"
	for _, try := range []struct {
		says    string
		path    string
		headers map[string]string
		status  int
	}{
		{"2.0.x is served: 2.0.0", path, nil, 101},
		{"2.0.x is served: 2.0.7", "/socket/websocket?vsn=2.0.7", nil, 101},
		{"1.0.x is served: 1.0.0", "/socket/websocket?vsn=1.0.0", nil, 101},
		{"missing vsn means 1.0.0", "/socket/websocket", nil, 101},
		{"others 403: 3.0.0", "/socket/websocket?vsn=3.0.0", nil, 403},
		{"others 403: 2.1.0", "/socket/websocket?vsn=2.1.0", nil, 403},
		{"others 403: 1.1.0", "/socket/websocket?vsn=1.1.0", nil, 403},
		{"others 403: no version at all", "/socket/websocket?vsn=latest", nil, 403},
		{"not an upgrade: 400", path, map[string]string{"Upgrade": "", "Connection": "close"}, 400},
		{"not an upgrade to this: 400", path, map[string]string{"Upgrade": "h2c"}, 400},
		{"not an upgrade by Connection: 400", path, map[string]string{"Connection": "keep-alive"}, 400},
		{"Connection is a list", path, map[string]string{"Connection": "keep-alive, upgrade", "Upgrade": "WebSocket"}, 101},
		{"Upgrade is a list", path, map[string]string{"Upgrade": "h2c, websocket"}, 101},
		{"a slash behind", "/socket/websocket/?vsn=2.0.0", nil, 101},
		{"two slashes, and no redirect", "/socket//websocket?vsn=2.0.0", nil, 101},
		{"no key: 400", path, map[string]string{"Sec-WebSocket-Key": ""}, 400},
		{"another WebSocket version: 426 (RFC 6455, section 4.2.2)", path, map[string]string{"Sec-WebSocket-Version": "8"}, 426},
		{"not GET: 400", path, map[string]string{":method": "POST", "Content-Length": "0"}, 400},
		{"not GET: 400, by HEAD", path, map[string]string{":method": "HEAD"}, 400},
		{"another path: 404", "/socket/elsewhere", nil, 404},

		{"origin: none", path, nil, 101},
		{"origin: same host, any port", path, map[string]string{"Origin": "http://127.0.0.1:8080"}, 101},
		{"origin: same host, another scheme", path, map[string]string{"Origin": "https://127.0.0.1"}, 101},
		{"origin: the other names of loopback", path, map[string]string{"Host": "localhost:4000", "Origin": "http://127.0.0.1:8080"}, 101},
		{"a name that leads here and is none of ours: 403", path, map[string]string{"Host": "sluice.example", "Origin": "https://Sluice.Example"}, 403},
		{"origin: mismatch 403", path, map[string]string{"Origin": "http://evil.example"}, 403},
		{"origin: mismatch 403, of a host that begins alike", path, map[string]string{"Origin": "http://127.0.0.1.evil.example"}, 403},
		{"origin: opaque 403", path, map[string]string{"Origin": "null"}, 403},

		{"params may be nested", path + "&user[name]=a&user%5Broles%5D%5B%5D=b&user[roles][]=c", nil, 101},
		{"params may be odd", path + "&=&a=%zz&[]=1&a[b=2&&a]b[=3", nil, 101},
		{"a token where there are no keys", path + "&token=whatever", nil, 101},
	} {
		t.Run(try.says, func(t *testing.T) {
			c := dialRaw(t, s.public)
			response := c.upgrade(t, try.path, try.headers)
			if response.StatusCode != try.status {
				t.Fatalf("answered %s, want %d", response.Status, try.status)
			}
			if protocol := response.Header.Get("Sec-Websocket-Protocol"); protocol != "" {
				t.Errorf("unasked, subprotocol %q is answered", protocol)
			}
			if try.status == http.StatusSwitchingProtocols && strings.Contains(try.path, "vsn=2") {
				c.alive(t)
			}
		})
	}

	t.Run("missing vsn speaks in objects", func(t *testing.T) {
		c := dialRaw(t, s.public)
		c.upgrade(t, "/socket/websocket", nil)
		c.text(t, `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`)
		c.expectJSON(t, `{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`)
	})

	t.Run("what the reader had buffered is consumed", func(t *testing.T) {
		c := dialRaw(t, s.public)
		eager := frame(fin|opText, beat("early"))
		c.write(t, upgradeRequest(s.public, path, nil), eager, eager, eager[:9])
		response, err := http.ReadResponse(c.in, nil)
		if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the handshake is answered %v: %v", response, err)
		}
		c.expect(t, opText, answered)
		c.expect(t, opText, answered)
		c.write(t, eager[9:])
		c.expect(t, opText, answered)
	})

	t.Run("subprotocol phoenix is answered phoenix", func(t *testing.T) {
		for _, offer := range []string{"phoenix", "graphql-ws, phoenix", "phoenix, base64url.bearer.phx." + base64.RawStdEncoding.EncodeToString([]byte("anyone?>"))} {
			c := dialRaw(t, s.public)
			response := c.upgrade(t, path, map[string]string{"Sec-WebSocket-Protocol": offer})
			if got := response.Header.Get("Sec-Websocket-Protocol"); got != "phoenix" || response.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("%q is answered %s with %q", offer, response.Status, got)
			}
			c.alive(t)
		}
	})
}

// A list of origins takes the place of the same host.
func TestOrigins(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(),
		"--origins", "//app.example", "--origins", "//*.wild.example", "--origins", "https://strict.example:8443").ready(t)
	for origin, status := range map[string]int{
		"":                            101,
		"http://app.example":          101,
		"https://APP.example:1234":    101,
		"http://sub.app.example":      403,
		"http://app.example.evil":     403,
		"https://a.wild.example":      101,
		"http://a.b.wild.example:1":   101,
		"https://wild.example":        403,
		"https://notwild.example":     403,
		"https://strict.example:8443": 101,
		"http://strict.example:8443":  403,
		"https://strict.example":      403,
		"http://127.0.0.1":            403,
	} {
		t.Run("origin "+origin, func(t *testing.T) {
			response := dialRaw(t, s.public).upgrade(t, "/socket/websocket?vsn=2.0.0", map[string]string{"Origin": origin})
			if response.StatusCode != status {
				t.Errorf("answered %s, want %d", response.Status, status)
			}
			poll := get(t, s.public, "/socket/longpoll?vsn=2.0.0", map[string]string{"Origin": origin})
			want, allowed := 410, origin
			if status == 403 {
				want, allowed = 403, ""
			}
			if poll.Status != want || poll.header.Get("Access-Control-Allow-Origin") != allowed {
				t.Errorf("a poll is answered %d and may be read from %q, want %d and %q",
					poll.Status, poll.header.Get("Access-Control-Allow-Origin"), want, allowed)
			}
		})
	}
}

// Beyond the limit of connections, and as long as there is no log, clients are
// told to come again: 503.
func TestConnectRefusedForNow(t *testing.T) {
	t.Parallel()
	const path = "/socket/websocket?vsn=2.0.0"
	full := serve(t, "--data-dir", t.TempDir(), "--max-connections", "2").ready(t)
	first := openRaw(t, full.public, "2.0.0")
	first.alive(t)
	for ended := 0; ; { // a session that nobody polls does not last: who is slow to see that it counts sees nothing, and looks again
		if poll := get(t, full.public, longpoll, nil); poll.Status != 410 {
			t.Fatalf("the second connection, a poll, is answered %d", poll.Status)
		}
		extra := dialRaw(t, full.public)
		socket, poll := extra.upgrade(t, path, nil), get(t, full.public, longpoll, nil)
		extra.conn.Close()
		if socket.StatusCode == http.StatusServiceUnavailable && poll.Status == 500 {
			break
		}
		t.Logf("one connection too many is answered %s, and one poll too many %d, not the status on which clients come again, unless the session ended before", socket.Status, poll.Status)
		ended++
		full.await(t, "/metrics", func(_ int, body string) bool {
			return counted(t, body, "sluice_sockets_closed_total", `reason="poll_timeout"`) >= ended
		})
		full.await(t, "/api/sockets", func(_ int, body string) bool { return strings.Count(body, `"id"`) == 1 })
	}
	first.conn.Close()
	full.await(t, "/metrics", func(int, string) bool {
		c := dialRaw(t, full.public)
		defer c.conn.Close()
		return c.upgrade(t, path, nil).StatusCode == http.StatusSwitchingProtocols
	})

	waiting := serve(t, "--database-url", "postgres://nobody@"+newRelay(t).address+"/nothing")
	if response := dialRaw(t, waiting.public).upgrade(t, path, nil); response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without a log a connection is answered %s", response.Status)
	}
}
