package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
)

// socketStandIn serves a script to every client, with the token that it brings.
func socketStandIn(t *testing.T, script func(p peer, token string)) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offered := strings.Split(r.Header.Get("Sec-WebSocket-Protocol"), ",")
		upgrader := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "phoenix" }}
		conn, _, _, err := upgrader.Upgrade(r, w)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer conn.Close()
		script(peer{t, conn}, strings.TrimSpace(offered[len(offered)-1]))
	}))
	t.Cleanup(server.Close)
	return server.URL + "/socket"
}

// The token is asked for at every connect; an error of it is tried again unless it is final.
func TestTokenIsAskedEachTime(t *testing.T) {
	t.Parallel()
	var seen []string // by one connection after the other
	url := socketStandIn(t, func(p peer, token string) {
		seen = append(seen, token)
		p.join(`{"offset":0,"epoch":"e","resumed":true}`)
		p.event("demo", len(seen))
	})
	asked := 0
	c, err := Dial(t.Context(), url, Token(func(context.Context) (string, error) {
		switch asked++; asked {
		case 2:
			return "", errors.New("the issuer is away")
		case 5:
			return "", Permanent(errors.New("the account is gone"))
		}
		return fmt.Sprint("t", asked), nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Join(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if got := offsets(t, ch, 4); got != "1 2 3 ask for a token: the account is gone" {
		t.Error(got)
	}
	c.Close()
	if want := fmt.Sprint([]string{bearerProtocol("t1"), bearerProtocol("t3"), bearerProtocol("t4")}); fmt.Sprint(seen) != want {
		t.Errorf("came with %q", seen)
	}
}

func TestDialFails(t *testing.T) {
	t.Parallel()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"error":"the token has expired","hint":"get a new one"}`))
	}))
	defer refusing.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for url, want := range map[string]string{
		"":                               `"" is no URL of a socket: give one such as wss://example.org/socket`,
		"ftp://host/socket":              `"ftp://host/socket" is no URL of a socket: give one such as wss://example.org/socket`,
		"ws://%zz":                       `"ws://%zz" is no URL of a socket: give one such as wss://example.org/socket`,
		refusing.URL:                     "the server refused the connection (403 Forbidden): the token has expired: get a new one",
		"ws://" + closed.Addr().String(): "cannot reach ws://" + closed.Addr().String() + "/websocket?vsn=2.0.0: ",
	} {
		if c, err := Dial(t.Context(), url); c != nil || err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
	if got := bearerProtocol("a?>b"); got != "base64url.bearer.phx.YT8-Yg" {
		t.Errorf("bearerProtocol: %s", got)
	}
}

// Params come along at every join, and cannot say where to resume.
func TestParams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var joins []string
		count := 0
		c := dial(t, scripted(t,
			func(p peer) { joins = append(joins, string(p.join(`{"offset":7,"epoch":"e","resumed":true}`).payload)) },
			func(p peer) {
				joins = append(joins, string(p.join(`{"offset":8,"epoch":"e","resumed":true}`).payload))
				p.event("demo", 8)
				p.linger()
			},
		))
		ch, err := c.Join(t.Context(), "demo", Params(func() any { count++; return map[string]any{"n": count, "after": 3, "last": 9, "epoch": "x"} }), Last(2))
		if err != nil {
			t.Fatal(err)
		}
		if got := offsets(t, ch, 1); got != "8" {
			t.Error(got)
		}
		if _, err := c.Join(t.Context(), "demo"); !errors.Is(err, ErrJoined) {
			t.Errorf("joined twice: %v", err)
		}
		for _, bad := range []any{7, nil, make(chan int)} {
			if _, err := c.Join(t.Context(), "other", Params(func() any { return bad })); err == nil || !strings.Contains(err.Error(), "no JSON object") {
				t.Errorf("%v: %v", bad, err)
			}
		}
		c.Close()
		if want := `[{"after":null,"last":2,"n":1} {"after":7,"last":2,"epoch":"e","n":2}]`; fmt.Sprint(joins) != want {
			t.Errorf("joined with %s", joins)
		}
	})
}

func TestPresences(t *testing.T) {
	t.Parallel()
	var p Presences
	apply := func(event, payload, want string, applied bool) {
		t.Helper()
		if p.Apply(Event{Name: event, Payload: json.RawMessage(payload)}) != applied {
			t.Errorf("%s: not %v", payload, applied)
		}
		if got, _ := json.Marshal(p.ByKey); string(got) != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
	apply(presenceDiff, `{"joins":{"a":{"metas":[{"phx_ref":"1"}]}}}`, `null`, false) // it is in the state that comes
	apply(presenceState, `{"a":{"metas":[{"phx_ref":"1"}]}}`, `{"a":[{"phx_ref":"1"}]}`, true)
	apply(presenceDiff, `{"joins":{"a":{"metas":[{"phx_ref":"2"}]},"data":{"metas":[{"phx_ref":"3"}]}},"leaves":{}}`, `{"a":[{"phx_ref":"1"},{"phx_ref":"2"}],"data":[{"phx_ref":"3"}]}`, true)
	apply(presenceDiff, `{"joins":{"a":{"metas":[{"phx_ref":"4","phx_ref_prev":"2"}]}},"leaves":{"a":{"metas":[{"phx_ref":"2"}]}}}`, `{"a":[{"phx_ref":"1"},{"phx_ref":"4","phx_ref_prev":"2"}],"data":[{"phx_ref":"3"}]}`, true)
	apply(presenceDiff, `{"joins":{"a":{"metas":[{"phx_ref":"4"}]}},"leaves":{"data":{"metas":[{"phx_ref":"3"}]},"x":{"metas":[{}]}}}`, `{"a":[{"phx_ref":"1"},{"phx_ref":"4"}]}`, true)
	apply(presenceDiff, `[7]`, `{"a":[{"phx_ref":"1"},{"phx_ref":"4"}]}`, false)
	apply("other", `{}`, `{"a":[{"phx_ref":"1"},{"phx_ref":"4"}]}`, false)
	apply(presenceState, `{"b":{"metas":[]}}`, `{"b":[]}`, true)
	if _, payload := (message{event: presenceState, payload: []byte(`{"data":{"metas":[]}}`)}).unwrap(); string(payload) != `{"data":{"metas":[]}}` {
		t.Errorf("presences of the key data came as %s", payload)
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "[", "{}", `[null,null,"t","e",7`, `[null,null,"t","e",{"data":{"offset":1}`, `[null,null,"t",7,{"offset":"8"`,
		`[null,null,"t","e",{"offset":1.5,`, `[null,null,"t","e",{"offset":99999999999999999999,`, `[[],null,"t","e",{"offset":8,`, `[null,null,"t","e",{"offset":8`,
	} {
		if topic, event, offset, ok := identify([]byte(text)); ok && (topic != "t" || event != "e" || offset != 8) {
			t.Errorf("%s: %q of %q at %d", text, event, topic, offset)
		}
	}
	if topic, event, offset, ok := identify([]byte(`["1",null,"t","e",{"offset":8,"data":{"a`)); !ok || topic != "t" || event != "e" || offset != 8 {
		t.Error(topic, event, offset, ok)
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`["1","2","demo","created",{"offset":1,"data":{}}]`, `[null,null,"demo","created",{"data":1}]`,
		`[]`, `{}`, `[1,2,3,4,5]`, `[null,"1","phoenix","phx_reply",{"status":"ok"},6]`, "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := decode(text)
		if err != nil {
			return
		}
		encoded, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(encoded)
		if err != nil || again.topic != m.topic || again.event != m.event || again.ref != m.ref || again.joinRef != m.joinRef {
			t.Errorf("%+v became %+v (%v)", m, again, err)
		}
		if offset, payload := m.unwrap(); offset < 0 || !json.Valid(payload) {
			t.Errorf("%q: %d, %q", text, offset, payload)
		}
	})
}

// FuzzLyingServer has a client take whatever a server may send, after a join: it does
// not fall over, nor hold more than it may, nor go back.
func FuzzLyingServer(f *testing.F) {
	for _, seed := range []string{
		`[null,null,"demo","e",{"offset":8,"data":{}}]`, `[null,null,"demo","e",{"offset":-8,"data":{}}]`, `["1","1","demo","phx_reply",{"status":"ok","response":{"offset":-1}}]`,
		`["1","1","demo","phx_reply",7]`, `["1","1","demo","phx_error",[]]`, `["1","1","demo","phx_close",null]`, `[null,null,"demo","presence_diff",{"joins":7}]`,
		`["2","2","demo","phx_reply",{"status":"ok","response":{"offset":1,"epoch":7}}]`, `[null,null,"demo","e",{"offset":9e99,"data":{}}]`, "nonsense",
	} {
		f.Add(seed, uint8(ws.OpText))
	}
	f.Add("", uint8(ws.OpPing))
	f.Fuzz(func(t *testing.T, text string, op uint8) {
		client, server := net.Pipe()
		go func() { peer{t, server}.linger(); server.Close() }()
		l := newLoop(settings{notify: func(Notice) {}}, &Client{room: make(chan struct{}, 1)}, newConnection(client, nil))
		l.start()
		ch := &Channel{topic: "demo", first: make(chan error, 1), pushes: map[string]*push{}, retry: newBackoff()}
		ch.queue.init(l.client.room)
		l.add(ch)
		l.take(frame{ws.OpText, []byte(`["1","1","demo","phx_reply",{"status":"ok","response":{"offset":5,"epoch":"e","resumed":true}}]`), 90})
		p := &push{event: "e", payload: []byte("{}"), answer: make(chan pushAnswer, 1)}
		l.push(ch, p)
		for range QueueEvents + 2 {
			if l.conn == nil || l.fatal != nil {
				break
			}
			l.take(frame{ws.OpCode(op), []byte(text), int64(len(text))})
		}
		if *ch.position < 5 || ch.queue.len() > QueueEvents {
			t.Errorf("at %d, %d wait", *ch.position, ch.queue.len())
		}
		l.fatal = ErrClosed
		l.stop()
	})
}
