package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
)

// serve puts an endpoint on a loopback port, and returns its address.
func (r *rig) serve() string {
	r.t.Helper()
	server := httptest.NewServer(r.endpoint)
	r.t.Cleanup(func() {
		_ = r.stop()
		server.Close()
	})
	return server.Listener.Addr().String()
}

// upgrade is the request of a well-behaved client.
func upgrade(query string) *http.Request {
	req := httptest.NewRequest(http.MethodGet, "/socket/websocket"+query, nil)
	req.RequestURI = ""
	req.Header = http.Header{
		"Connection":            {"keep-alive, Upgrade"},
		"Upgrade":               {"websocket"},
		"Sec-Websocket-Key":     {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Version": {"13"},
	}
	return req
}

// shake connects, sends a request, with more behind it, and returns the answer and the
// connection.
func shake(t *testing.T, addr string, req *http.Request, early ...byte) (*http.Response, *client) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = addr
	return shakeOn(t, conn, req, early...)
}

// shakeOn is shake on a connection that there is.
func shakeOn(t *testing.T, conn net.Conn, req *http.Request, early ...byte) (*http.Response, *client) {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	var out strings.Builder
	if err := req.Write(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(append([]byte(out.String()), early...)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, &client{t: t, Conn: buffered{conn, in}}
}

// buffered is a connection of which something has been read ahead.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func TestHandshake(t *testing.T) {
	t.Parallel()
	r := newPatientRig(t, func(c *Config) {
		c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
			switch r.Params.Get("be") {
			case "refused":
				return nil, errors.New("no")
			case "limited":
				return nil, &Refusal{Status: http.StatusTooManyRequests, Reason: "slow down"}
			case "panicked":
				panic("hook")
			case "forgotten":
				return nil, nil
			}
			return &channels.Socket{ID: r.Token}, nil
		}
	})
	addr := r.serve()
	for _, c := range []struct {
		name   string
		query  string
		change func(*http.Request)
		status int
		reason rejectReason
	}{
		{"vsn 2.0.0", "?vsn=2.0.0", nil, 101, ""},
		{"vsn 1.0.0", "?vsn=1.0.0", nil, 101, ""},
		{"missing vsn means 1.0.0", "", nil, 101, ""},
		{"other versions", "?vsn=3.0.0", nil, 403, rejectedVersion},
		{"no version", "?vsn=2.0.", nil, 403, rejectedVersion},
		{"not GET", "", func(r *http.Request) { r.Method = http.MethodPost }, 400, rejectedRequest},
		{"not an upgrade", "", func(r *http.Request) { r.Header.Del("Upgrade") }, 400, rejectedRequest},
		{"an upgrade to something else", "", func(r *http.Request) { r.Header.Set("Upgrade", "h2c") }, 400, rejectedRequest},
		{"no connection upgrade", "", func(r *http.Request) { r.Header.Set("Connection", "keep-alive") }, 400, rejectedRequest},
		{"a bad key", "", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Key", "x") }, 400, rejectedRequest},
		{"another WebSocket version", "", func(r *http.Request) { r.Header.Set("Sec-WebSocket-Version", "8") }, 426, rejectedRequest},
		{"same host, any port", "", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, 101, ""},
		{"another origin", "", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403, rejectedOrigin},
		{"connect refused", "?be=refused", nil, 403, rejectedHook},
		{"connect refused with a status", "?be=limited", nil, 429, rejectedHook},
		{"connect hook panics", "?be=panicked", nil, 403, rejectedHook},
		{"connect hook forgets", "?be=forgotten", nil, 403, rejectedHook},
		{"Connection over several lines", "", func(r *http.Request) { r.Header["Connection"] = []string{"keep-alive", "Upgrade"} }, 101, ""},
		{"Connection with what else it may list", "", func(r *http.Request) { r.Header.Set("Connection", "close , \tUPGRADE,, te") }, 101, ""},
		{"Connection with a longer word", "", func(r *http.Request) { r.Header.Set("Connection", "upgrades") }, 400, rejectedRequest},
		{"Upgrade to one of several", "", func(r *http.Request) { r.Header.Set("Upgrade", "h2c, WebSocket") }, 101, ""},
		{"Upgrade over several lines", "", func(r *http.Request) { r.Header["Upgrade"] = []string{"h2c", "websocket"} }, 101, ""},
		{"a slash behind", "", func(r *http.Request) { r.URL.Path = "/socket/websocket/" }, 101, ""},
		{"two slashes within", "", func(r *http.Request) { r.URL.Path = "/socket//websocket" }, 101, ""},
		{"slashes everywhere", "", func(r *http.Request) { r.URL.Path = "//socket///websocket//" }, 101, ""},
		{"a slash too few", "", func(r *http.Request) { r.URL.Path = "/socketwebsocket" }, 404, ""},
		{"nothing but the mount", "", func(r *http.Request) { r.URL.Path = "/socket/" }, 404, ""},
		{"another path", "", func(r *http.Request) { r.URL.Path = "/socket/other" }, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before int64
			if c.reason != "" {
				before = r.counter(metrics.SocketsRefused, metrics.Reason(string(c.reason)))
			}
			req := upgrade(c.query)
			if c.change != nil {
				c.change(req)
			}
			resp, client := shake(t, addr, req)
			if resp.StatusCode != c.status {
				t.Fatalf("status %d, want %d", resp.StatusCode, c.status)
			}
			if c.status == http.StatusSwitchingProtocols {
				client.text(`{"topic":1`) // in either version
				client.want("close 1011")
				return
			}
			var body struct{ Error, Hint string }
			if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Error == "" || body.Hint == "" {
				t.Fatalf("body %+v: %v", body, err)
			}
			if c.reason != "" && r.counter(metrics.SocketsRefused, metrics.Reason(string(c.reason))) != before+1 {
				t.Fatal("not counted")
			}
		})
	}
}

func TestHandshakeByTheBook(t *testing.T) {
	t.Parallel()
	resp, _ := shake(t, newPatientRig(t).serve(), upgrade(""))
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" { // RFC 6455, 1.3
		t.Fatal(got)
	}
	if got, ok := resp.Header[protocolHeader]; ok {
		t.Fatalf("subprotocol %q was not offered", got)
	}
}

// TestEarlyFrame sends a message together with the handshake.
func TestEarlyFrame(t *testing.T) {
	t.Parallel()
	frame := append([]byte{0x81, 0x80 | byte(len(beat)), 0, 0, 0, 0}, beat...)
	_, c := shake(t, newPatientRig(t).serve(), upgrade("?vsn=2.0.0"), frame...)
	c.want(beaten)
	c.text(beat)
	c.want(beaten)
}

func TestTokenBySubprotocol(t *testing.T) {
	t.Parallel()
	tokens := make(chan string, 1)
	r := newPatientRig(t, func(c *Config) {
		c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
			tokens <- r.Token
			return new(channels.Socket), nil
		}
	})
	addr := r.serve()
	const token = "a.b?>~ÿÿ" // has / and + in the standard alphabet
	for name, encoding := range map[string]*base64.Encoding{"standard": base64.RawStdEncoding, "url": base64.RawURLEncoding} {
		t.Run(name, func(t *testing.T) {
			req := upgrade("")
			req.Header.Set(protocolHeader, "phoenix, base64url.bearer.phx."+encoding.EncodeToString([]byte(token)))
			resp, _ := shake(t, addr, req)
			if resp.StatusCode != 101 || resp.Header.Get(protocolHeader) != "phoenix" {
				t.Fatal(resp.Status, resp.Header)
			}
			if got := <-tokens; got != token {
				t.Fatal(got)
			}
		})
	}
}

func TestCapacity(t *testing.T) {
	t.Parallel()
	r := newPatientRig(t, func(c *Config) { c.MaxConnections = 1 })
	addr := r.serve()
	_, first := shake(t, addr, upgrade("?vsn=2.0.0"))
	resp, _ := shake(t, addr, upgrade("?vsn=2.0.0"))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Fatal(resp.Status)
	}
	first.frame(0x8, true, "")
	first.want("close", "end")
	until(t, "the first one's place has been given back", func() bool {
		resp, _ := shake(t, addr, upgrade("?vsn=2.0.0"))
		return resp.StatusCode == 101
	})
}

// TestOverTheNetwork gathers writes, and lingers for a client that is still
// sending.
func TestOverTheNetwork(t *testing.T) {
	t.Parallel()
	r := newPatientRig(t)
	addr := r.serve()
	_, c := shake(t, addr, upgrade("?vsn=2.0.0"))
	for i := range 20 {
		c.text(fmt.Sprintf(`["1","1","room:%d","phx_join",{}]`, i))
		c.want(fmt.Sprintf(`["1","1","room:%d","phx_reply",{"status":"ok","response":{}}]`, i))
	}
	for i := range 20 {
		r.log(fmt.Sprintf("room:%d", i), "created", `{}`)
	}
	got := make(map[string]bool)
	for range 20 {
		got[c.next()] = true
	}
	if len(got) != 20 {
		t.Fatal(got)
	}
	go func() {
		_, _ = c.Write(append([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}, make([]byte, 65537)...))
	}()
	c.want("close 1009", "end")
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list   []string
		host   string
		origin string
		want   bool
	}{
		{nil, "a.example", "", true},
		{nil, "a.example:4000", "http://a.example", true},
		{nil, "a.example", "https://A.example:8443", true},
		{nil, "[::1]:4000", "http://[::1]:3000", true},
		{nil, "a.example", "http://b.example", false},
		{nil, "a.example", "null", false},
		{nil, "a.example", "http://a.example.evil", false},
		{nil, "a.example", "://", false},
		{[]string{"//a.example"}, "x", "http://a.example:99", true},
		{[]string{"//a.example"}, "a.example", "http://x.a.example", false},
		{[]string{"//b.example"}, "a.example", "http://a.example", false},
		{[]string{"//*.a.example"}, "x", "http://y.a.example", true},
		{[]string{"//*.a.example"}, "x", "http://z.y.a.example", true},
		{[]string{"//*.a.example"}, "x", "http://a.example", false},
		{[]string{"//*.a.example"}, "x", "http://evila.example", false},
		{[]string{"https://a.example"}, "x", "http://a.example", false},
		{[]string{"https://a.example"}, "x", "https://a.example:444", false}, // RFC 6454
		{[]string{"https://a.example"}, "x", "https://a.example", true},
		{[]string{"https://a.example"}, "x", "https://a.example:443", true},
		{[]string{"http://*.a.example:80"}, "x", "http://b.a.example", true},
		{[]string{"*"}, "x", "https://anybody.example:444", true},
		{[]string{"*"}, "x", "null", true},
		{[]string{"*"}, "x", "file://", true},
		{[]string{"null"}, "x", "null", true},
		{[]string{"null"}, "x", "http://a.example", false},
		{[]string{"//a.example"}, "x", "null", false},
		{[]string{"file://"}, "x", "file://", true},
		{[]string{"file://"}, "x", "null", false},
		{[]string{"capacitor://"}, "x", "capacitor://localhost", true},
		{[]string{"capacitor://localhost"}, "x", "capacitor://localhost", true},
		{[]string{"capacitor://localhost"}, "x", "capacitor://localhost:1", false},
		{[]string{"capacitor://"}, "x", "http://localhost", false},
		{nil, "a.example", "file://", false},
		{nil, "127.0.0.1:4000", "http://localhost:5173", false}, // not where there are keys
		{[]string{"//a.example:443"}, "x", "https://a.example", true},
		{[]string{"//a.example:443"}, "x", "https://a.example:444", false},
		{[]string{"//a.example", "//b.example"}, "x", "http://b.example", true},
	} {
		list, err := parseOrigins(c.list)
		if err != nil {
			t.Fatal(err)
		}
		g := gate{list: list, open: func() bool { return false }}
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Host = c.host
		if c.origin != "" {
			req.Header.Set("Origin", c.origin)
		}
		if got := g.allows(req); got != c.want {
			t.Errorf("from %q to %q with %q: %v", c.origin, c.host, c.list, got)
		}
	}
	for _, s := range []string{"", "a.example", "//", "//a.example/path", "//a.*.example", "//*", "http://u@a.example", "**", "*.a.example", "file:", "file:///x", "NULL", "//:80", "http://a.example?"} {
		if _, err := parseOrigin(s); err == nil {
			t.Errorf("%q is no origin", s)
		}
	}
}

// TestOpenGate: where everybody who reaches loopback may connect, it must be asked for by a name
// that DNS has no say in, and all names of loopback are one.
func TestOpenGate(t *testing.T) {
	t.Parallel()
	g := gate{open: func() bool { return true }}
	listed := gate{open: g.open, list: []origin{{host: "dev.example", anyPort: true}, {host: "*.dev.example", anyPort: true}, {any: true}}}
	for _, c := range []struct {
		host            string
		answers, listed bool
	}{
		{"127.0.0.1:4000", true, true}, {"[::1]:4000", true, true}, {"192.168.0.1", true, true}, {"[fe80::1]", true, true},
		{"localhost:4000", true, true}, {"LOCALHOST", true, true}, {"localhost.:80", true, true}, {"app.localhost:4000", true, true},
		{"evil.example:4000", false, false}, {"localhost.evil.example", false, false}, {"127.0.0.1.evil.example", false, false},
		{"", false, false}, {"1", false, false}, {"0x7f000001", false, false},
		{"dev.example:4000", false, true}, {"a.dev.example", false, true}, {"notdev.example", false, false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		if got := g.answersTo(r); got != c.answers {
			t.Errorf("to %q: %v", c.host, got)
		}
		if got := listed.answersTo(r); got != c.listed {
			t.Errorf("to %q, with a list: %v", c.host, got)
		}
	}
	for _, c := range []struct {
		host, origin string
		want         bool
	}{
		{"127.0.0.1:4000", "http://localhost:5173", true}, {"localhost:4000", "http://127.0.0.1:5173", true},
		{"[::1]:4000", "https://localhost", true}, {"localhost", "http://[::1]:5173", true},
		{"127.0.0.1:4000", "http://evil.example", false}, {"127.0.0.1:4000", "http://evil.localhost.example", false},
		{"127.0.0.1:4000", "http://192.168.0.1", false}, {"127.0.0.1:4000", "null", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		r.Header.Set("Origin", c.origin)
		if got := g.allows(r); got != c.want {
			t.Errorf("from %q to %q: %v", c.origin, c.host, got)
		}
	}
}

// TestOwnOrigin: the very origin that is connected to, as a browser writes both.
func TestOwnOrigin(t *testing.T) {
	t.Parallel()
	g := gate{own: true, open: func() bool { return false }}
	for _, c := range []struct {
		host, origin string
		want         bool
	}{
		{"127.0.0.1:4001", "http://127.0.0.1:4001", true}, {"a.example", "http://a.example", true},
		{"a.example", "https://a.example", true}, {"A.example:443", "https://a.example", true}, {"[::1]:4001", "http://[::1]:4001", true},
		{"127.0.0.1:4001", "http://127.0.0.1:4000", false}, {"127.0.0.1:4001", "http://127.0.0.1", false},
		{"127.0.0.1:4001", "http://localhost:4001", false}, {"a.example", "http://a.example:81", false},
		{"a.example:80", "https://a.example", false}, {"127.0.0.1:4001", "null", false}, {"127.0.0.1:4001", "", true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if got := g.allows(r); got != c.want {
			t.Errorf("from %q to %q: %v", c.origin, c.host, got)
		}
	}
}

// TestRefusedPagesAreTold: once in a while, with what would let them in.
func TestRefusedPagesAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newRig(t, func(c *Config) {
			c.Open = func() bool { return true }
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
		})
		ask := func(host, origin string) int {
			req := httptest.NewRequest(http.MethodGet, "/socket/longpoll?vsn=2.0.0", nil)
			req.Host = host
			req.Header.Set("Origin", origin)
			w := httptest.NewRecorder()
			r.endpoint.ServeHTTP(w, req)
			return w.Code
		}
		for range 100 {
			ask("127.0.0.1:4000", "http://evil.example")
		}
		time.Sleep(logEvery) // of the test's own clock
		if status := ask("evil.example", "http://evil.example"); status != 403 {
			t.Errorf("a request for another host is answered %d", status)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], `allow_by="--origins http://evil.example"`) ||
			!strings.Contains(lines[1], `allow_by="--origins //evil.example" refused_since=99`) {
			t.Errorf("%s", log.String())
		}
		_ = r.stop()
	})
}

func TestParams(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]Params{
		"":                              {},
		"a=1&b=x+y%21":                  {"a": "1", "b": "x y!"},
		"a=1&a=2":                       {"a": "2"},
		"a[b]=c&a[d][e]=f":              {"a": Params{"b": "c", "d": Params{"e": "f"}}},
		"a%5Bb%5D=c":                    {"a": Params{"b": "c"}},
		"a[]=1&a[]=2":                   {"a": []any{"1", "2"}},
		"a=1&a[b]=2":                    {"a": "1"},
		"a[b]=2&a=1":                    {"a": Params{"b": "2"}},
		"a[b=1":                         {"a[b": "1"},
		"[a]=1&=2&%zz=3&b=%zz&&c":       {"c": ""},
		"a" + strings.Repeat("[b]", 99): {},
	} {
		if got := parseParams(query); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	if n := len(parseParams(strings.Repeat("a=1&", maxParams) + "b=2")); n != 1 {
		t.Errorf("%d parameters", n)
	}
	if got := (Params{"a": "1", "b": []any{}}); got.Get("a") != "1" || got.Get("b") != "" || got.Get("c") != "" {
		t.Error(got)
	}
}
