package admin_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// told is some of what a console is told.
type told struct {
	Node    string
	Ready   bool
	Head    int64
	Pushed  int64
	Stages  []struct{ Stage string }
	Busiest []struct {
		Topic    string
		Channels int
	}
	Slowest struct {
		Sockets []struct{ Mount string }
		Total   int
	}
	Log    []record
	Nodes  []struct{ Self bool }
	Counts map[string]map[string]int64
	Sample struct{ At []int64 }
}

type record struct{ Level, Message, Detail string }

// frame is a message to a client, in version 2 of the protocol.
func frame(t *testing.T, text string) (event string, payload json.RawMessage) {
	t.Helper()
	var all []json.RawMessage
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 5 || json.Unmarshal(all[3], &event) != nil {
		t.Fatalf("no frame: %s", text)
	}
	return event, all[4]
}

// answered waits for the next answer, and returns its status and response.
func answered(t *testing.T, c *sluicetest.Client) (status string, response json.RawMessage) {
	t.Helper()
	for {
		event, payload := frame(t, c.Next())
		if event != "phx_reply" {
			continue
		}
		var reply struct {
			Status   string
			Response json.RawMessage
		}
		if err := json.Unmarshal(payload, &reply); err != nil {
			t.Fatal(err)
		}
		return reply.Status, reply.Response
	}
}

// TestConsoleIsTold follows what consoles are told, until it says what a client does.
func TestConsoleIsTold(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(*sluicetest.Config) {}))
	client := n.Connect("/socket", "")
	client.Send(`["1","1","orders","phx_join",{}]`)
	client.Expect(`["1","1","orders","phx_reply",{"status":"ok","response":{}}]`)
	n.Refused("/socket", "vsn=9.0.0") // the last one counts
	onAdmin := *n
	onAdmin.Public = n.Admin
	console := onAdmin.Connect("/console", "")
	console.Send(`["1","1","sluice:console","phx_join",{}]`)
	status, response := answered(t, console)
	var joined struct {
		History  struct{ At, Routed, Pushed, P50, P99 []float64 }
		Overview told
	}
	if err := json.Unmarshal(response, &joined); err != nil || status != "ok" {
		t.Fatalf("%s %s: %v", status, response, err)
	}
	if h := joined.History; len(h.At) != len(h.Routed) || len(h.At) != len(h.P99) {
		t.Errorf("curves of %d, %d and %d", len(h.At), len(h.Routed), len(h.P99))
	}
	if o := joined.Overview; o.Node == "" || len(o.Nodes) != 1 || !o.Nodes[0].Self {
		t.Errorf("the join is answered %s", response)
	}
	if status, body := n.Request("POST", n.Admin, "/api/events", nil, `{"topic":"orders","event":"e","payload":{}}`); status != 202 {
		t.Fatalf("publish: %d %s", status, body)
	}
	client.Next() // the event
	for {
		event, payload := frame(t, console.Next())
		if event != "overview" {
			t.Fatalf("a console is sent %s", event)
		}
		var o told
		if err := json.Unmarshal(payload, &o); err != nil {
			t.Fatal(err)
		}
		if !o.Ready || o.Head < 1 || o.Pushed < 1 || len(o.Sample.At) != 1 {
			continue // not yet
		}
		if len(o.Stages) != 6 || o.Slowest.Total != 2 || len(o.Slowest.Sockets) != 2 || o.Counts["refused"]["version"] != 1 {
			t.Errorf("told %s", payload)
		}
		topics := map[string]int{}
		for _, each := range o.Busiest {
			topics[each.Topic] = each.Channels
		}
		if topics["orders"] != 1 {
			t.Errorf("the topics are %v", topics)
		}
		if !slices.ContainsFunc(o.Log, func(r record) bool {
			return r.Message == "connection refused" && r.Level == "INFO" && strings.Contains(r.Detail, "reason=version")
		}) {
			t.Errorf("the log is %v", o.Log)
		}
		break
	}
	console.Send(`["1","2","sluice:console","nodes",{}]`)
	if status, response := answered(t, console); status != "ok" || !strings.Contains(string(response), `"unanswered":[]`) {
		t.Errorf("the nodes: %s %s", status, response)
	}
	console.Send(`["1","3","sluice:console","drop",{}]`)
	if status, response := answered(t, console); status != "error" || string(response) != `{"reason":"forbidden"}` {
		t.Errorf("what there is not: %s %s", status, response)
	}
}

// TestNobodyElseIsTold has clients join what consoles do, by a rule that lets them: nothing of
// the node is ever sent there.
func TestNobodyElseIsTold(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
		c.Topics = []sluicetest.TopicRule{{Match: "sluice:*", Publish: "broadcast"}, {Match: "*"}}
	}))
	onAdmin := *n
	onAdmin.Public = n.Admin
	client, viewer := n.Connect("/socket", ""), onAdmin.Connect("/console/view", "")
	for _, each := range []*sluicetest.Client{client, viewer} {
		each.Send(`["1","1","sluice:console","phx_join",{}]`)
		each.Expect(`["1","1","sluice:console","phx_reply",{"status":"ok","response":{}}]`)
	}
	console := onAdmin.Connect("/console", "")
	console.Send(`["1","1","sluice:console","phx_join",{}]`)
	answered(t, console)
	for range 3 {
		if event, _ := frame(t, console.Next()); event != "overview" {
			t.Fatalf("a console is sent %s", event)
		}
	}
	client.Beat() // the next that comes
	viewer.Beat()
	for _, each := range []*sluicetest.Client{client, viewer} {
		each.Send(`["1","2","sluice:console","nodes",{}]`)
		if status, response := answered(t, each); strings.Contains(string(response), "unanswered") {
			t.Errorf("a client that asks is told %s %s", status, response)
		}
	}
	for _, mount := range []string{"/console", "/console/view"} {
		if status := n.Refused(mount, ""); status != 404 {
			t.Errorf("the public listener has something at %s: %d", mount, status)
		}
	}
}

// TestViewAsAClient connects as clients with tokens do, by way of the console.
func TestViewAsAClient(t *testing.T) {
	t.Parallel()
	const adminToken = "the token of the admin"
	key := []byte(strings.Repeat("k", 32))
	folder := t.TempDir()
	for name, text := range map[string][]byte{"admin": []byte(adminToken), "jwt": key} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
		c.AdminTokenFile, c.JWTSecretFile = filepath.Join(folder, "admin"), filepath.Join(folder, "jwt")
		c.Topics = []sluicetest.TopicRule{{Match: "*", Access: "token"}}
	}))
	sign := func(key []byte, expires time.Duration) string {
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "7", "topics": []string{"room:*"}, "exp": time.Now().Add(expires).Unix(),
		}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	good := sign(key, time.Hour)
	onAdmin := *n
	onAdmin.Public = n.Admin
	for params, status := range map[string]int{
		"":                                     401,
		"token=" + good:                        401, // that lets in clients, and not those who look at what they see
		"token=" + adminToken[:3]:              401,
		"token=the%20token%20of%20the%20admin": 401, // as parameter it would be the client's
	} {
		if got := onAdmin.Refused("/console/view", params); got != status {
			t.Errorf("%q: %d, want %d", params, got, status)
		}
	}
	if _, status := view(t, n.Admin, adminToken, "token="+sign([]byte(strings.Repeat("x", 32)), time.Hour)); status != 403 {
		t.Errorf("a token that nobody signed: %d", status)
	}
	if _, status := view(t, n.Admin, adminToken, ""); status != 403 {
		t.Errorf("no token: %d", status)
	}
	say, status := view(t, n.Admin, adminToken, "token="+good)
	if say == nil {
		t.Fatalf("a good token: %d", status)
	}
	for topic, want := range map[string]string{
		"room:1":         `["1","1","room:1","phx_reply",{"status":"ok","response":{}}]`,
		"orders":         `["1","1","orders","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`,
		"sluice:console": `["1","1","sluice:console","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`,
	} {
		if got := say(`["1","1","` + topic + `","phx_join",{}]`); got != want {
			t.Errorf("join %s: %s", topic, got)
		}
	}
	operator, _ := dial(t, n.Admin, "/console", adminToken, "")
	operator(`["1","1","sluice:console","phx_join",{}]`)
	for token, want := range map[string]string{
		good:                   `"ok"`,
		sign(key, -time.Hour):  "expired",
		"":                     "a token is needed",
		strings.Repeat("x", 9): "error",
	} {
		answer := operator(`["1","2","sluice:console","check",{"token":"` + token + `"}]`)
		for !strings.Contains(answer, `"2","sluice:console","phx_reply"`) {
			answer = operator("")
		}
		if !strings.Contains(answer, want) {
			t.Errorf("check %q: %s", token, answer)
		}
	}
}

func view(t *testing.T, addr, adminToken, params string) (say func(string) string, status int) {
	t.Helper()
	return dial(t, addr, "/console/view", adminToken, params)
}

// dial connects with the admin token, as the page does. What it returns sends a frame, unless it
// is empty, and waits for the next that comes.
func dial(t *testing.T, addr, mount, adminToken, params string) (say func(string) string, status int) {
	t.Helper()
	dialer := ws.Dialer{Protocols: []string{"phoenix", "base64url.bearer.phx." + base64.RawURLEncoding.EncodeToString([]byte(adminToken))}}
	ctx, cancel := context.WithTimeout(t.Context(), sluicetest.Patience)
	defer cancel()
	conn, in, _, err := dialer.Dial(ctx, "ws://"+addr+mount+"/websocket?vsn=2.0.0&"+params)
	var refused ws.StatusError
	switch {
	case errors.As(err, &refused):
		return nil, int(refused)
	case err != nil:
		t.Fatalf("connect to %s: %v", mount, err)
	case in != nil:
		t.Fatalf("%s says something unasked", mount)
	}
	t.Cleanup(func() { conn.Close() })
	return func(text string) string {
		t.Helper()
		if text != "" {
			if err := wsutil.WriteClientText(conn, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(sluicetest.Patience)); err != nil {
			t.Fatal(err)
		}
		got, err := wsutil.ReadServerText(conn)
		if err != nil {
			t.Fatalf("waiting for a frame: %v", err)
		}
		return string(got)
	}, 101
}
