package sluice_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// application is a backend that hooks ask. What it answers is changed by tests.
type application struct {
	server *httptest.Server
	secret string // a file

	release chan struct{}

	mu     sync.Mutex
	asked  []string // bodies, in order
	answer func(hook, topic, event string) string
}

// heldAnswer is yes, once the test has closed release.
const heldAnswer = "held"

func newApplication(t *testing.T, answer func(hook, topic, event string) string) *application {
	t.Helper()
	a := &application{secret: filepath.Join(t.TempDir(), "hooks-secret"), answer: answer, release: make(chan struct{})}
	if err := os.WriteFile(a.secret, []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var question struct{ Hook, Topic, Event string }
		if err != nil || json.Unmarshal(body, &question) != nil {
			t.Errorf("asked %q, %v", body, err)
		}
		a.mu.Lock()
		a.asked = append(a.asked, string(body))
		answer := a.answer(question.Hook, question.Topic, question.Event)
		a.mu.Unlock()
		switch answer {
		case heldAnswer:
			<-a.release
			_, _ = io.WriteString(w, `{"allow":true}`)
		case "":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(a.server.Close)
	return a
}

// answers has it answer otherwise from now on.
func (a *application) answers(answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = func(string, string, string) string { return answer }
}

// requests are what it was asked.
func (a *application) requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.asked...)
}

// hooks are all three, patient so that a busy machine is none that is down.
func (a *application) hooks() sluice.Hooks {
	hook := sluice.Hook{URL: a.server.URL, Timeout: time.Minute}
	join := hook
	join.Cache = time.Hour
	return sluice.Hooks{SecretFile: a.secret, Join: join, Push: hook}
}

// hooked runs a service whose rules ask an application, with tokens.
func hooked(t *testing.T, app *application, change func(*sluice.Config)) (n *sluicetest.Node, service *sluice.Service, token func(jwt.MapClaims) string) {
	t.Helper()
	const secret = "a secret that is long enough for HS256"
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	n = sluicetest.Run(t, sluicetest.WithService(func(c *sluice.Config) {
		c.JWTSecretFile, c.Anonymous, c.JWTRequireExp = path, new(true), new(false)
		c.Hooks = app.hooks()
		c.Topics = []sluice.TopicRule{{Match: "room:*", Access: "hook", Publish: "hook"}, {Match: "hall"}}
		change(c)
	}, func(s *sluice.Service) error { service = s; return nil }))
	return n, service, func(claims jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

// TestHookSaysWhoMayJoin has an application let in, turn away, and be down.
func TestHookSaysWhoMayJoin(t *testing.T) {
	t.Parallel()
	app := newApplication(t, func(_, topic, _ string) string {
		return map[string]string{
			"room:yes": `{"allow":true,"response":{"title":"hello"}}`,
			"room:no":  `{"allow":false}`,
			"room:why": `{"allow":false,"reason":"banned"}`,
			"room:odd": `{"allow":"yes"}`,
		}[topic]
	})
	n, _, token := hooked(t, app, unchanged)
	c := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "role": "guest", "iat": 1}))
	for i, each := range [][3]string{
		{"room:yes", "ok", `{"title":"hello"}`},
		{"room:no", "error", `{"reason":"unauthorized"}`},
		{"room:why", "error", `{"reason":"banned"}`},
		{"room:odd", "error", `{"reason":"unavailable"}`},
		{"room:down", "error", `{"reason":"unavailable"}`},
		{"hall", "ok", `{}`},
	} {
		c.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",{"a":1,"access_token":"hidden"}]`, i, i, each[0]))
		c.Expect(fmt.Sprintf(`["%d","%d","%s","phx_reply",{"status":"%s","response":%s}]`, i, i, each[0], each[1], each[2]))
	}
	asked := app.requests()
	if len(asked) != 5 {
		t.Fatalf("asked %q", asked)
	}
	for _, part := range []string{`"hook":"join","topic":"room:yes","params":{"a":1}`, `"id":"user:7","sub":"7","claims":{`, `"role":"guest"`, `"transport":"websocket"`} {
		if !strings.Contains(asked[0], part) {
			t.Errorf("asked %s, without %s", asked[0], part)
		}
	}
	for _, part := range []string{`sluice_joins_total\{[^}]*reason="unavailable"[^}]*\} 2`, `sluice_joins_total\{[^}]*reason="handler"[^}]*\} 1`,
		`sluice_hook_answers_total\{hook="join",[^}]*reason="denied"\} 2`, `sluice_hook_answers_total\{hook="join",[^}]*reason="malformed"\} 1`, `sluice_hook_time_seconds_count\{hook="join"[^}]*\} 5`} {
		n.Eventually(part, func() bool { // a join is counted after its answer
			_, metrics := n.Ask("GET", "/metrics")
			return regexp.MustCompile(part).MatchString(metrics)
		})
	}
}

// TestReconnectIsNoRequest has a user join again, with the same and with other things
// about it.
func TestReconnectIsNoRequest(t *testing.T) {
	t.Parallel()
	app := newApplication(t, func(string, string, string) string { return `{"allow":true,"response":{"n":1}}` })
	n, _, token := hooked(t, app, unchanged)
	ref := 0
	join := func(claims jwt.MapClaims, topic, params string) {
		t.Helper()
		query := ""
		if claims != nil {
			query = "token=" + token(claims)
		}
		c := n.Connect("/socket", query)
		ref++
		c.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",%s]`, ref, ref, topic, params))
		if reply := c.Next(); !strings.Contains(reply, `"status":"ok"`) || !strings.Contains(reply, `"n":1`) {
			t.Errorf("%s with %s: %s", topic, params, reply)
		}
		c.Close()
	}
	seven := jwt.MapClaims{"sub": "7", "iat": time.Now().Unix() - 5, "role": "guest"}
	for _, c := range []struct {
		claims        jwt.MapClaims
		topic, params string
		asked         int // so far
	}{
		{seven, "room:1", `{"a":1,"b":{"c":2}}`, 1},
		{seven, "room:1", `{"b":{"c":2},"a":1}`, 1},
		{seven, "room:1", `{"a":1,"b":{"c":2},"after":0,"epoch":"x"}`, 1},
		{jwt.MapClaims{"sub": "7", "iat": time.Now().Unix(), "jti": "x", "role": "guest"}, "room:1", `{"a":1,"b":{"c":2}}`, 1},
		{jwt.MapClaims{"sub": "7", "role": "other"}, "room:1", `{"a":1,"b":{"c":2}}`, 2},
		{seven, "room:1", `{"a":2,"b":{"c":2}}`, 3},
		{seven, "room:2", `{"a":1,"b":{"c":2}}`, 4},
		{jwt.MapClaims{"sub": "8", "role": "guest"}, "room:1", `{"a":1,"b":{"c":2}}`, 5},
		{nil, "room:1", `{"a":1,"b":{"c":2}}`, 6},
		{nil, "room:1", `{"a":1,"b":{"c":2}}`, 7}, // nobody in particular
	} {
		join(c.claims, c.topic, c.params)
		if asked := len(app.requests()); asked != c.asked {
			t.Errorf("%v joined %s with %s: asked %d times, want %d", c.claims, c.topic, c.params, asked, c.asked)
		}
	}
	// Revoked, with what it had been let in by: another token is asked about.
	if status, body := n.Request("POST", n.Admin, "/api/revoke", map[string]string{"Content-Type": "application/json"}, fmt.Sprintf(`{"sub":"7","issued_before":%q,"until":%q}`,
		time.Now().Add(time.Second).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))); status != http.StatusOK {
		t.Fatal(status, body)
	}
	join(jwt.MapClaims{"sub": "7", "iat": time.Now().Unix() + 60, "role": "guest"}, "room:1", `{"a":1,"b":{"c":2}}`)
	if asked := len(app.requests()); asked != 8 {
		t.Errorf("after a revocation asked %d times, want 8", asked)
	}
}

// TestHookIsAskedAgain has a token renewed, and a permission end.
func TestHookIsAskedAgain(t *testing.T) {
	t.Parallel()
	app := newApplication(t, nil)
	n, _, token := hooked(t, app, unchanged)
	const renewed = `["REF","r","ROOM","phx_reply",{"status":"ok","response":{}}]`
	for name, c := range map[string]struct{ then, frame string }{
		"allowed": {`{"allow":true}`, ""},
		"denied":  {`{"allow":false}`, `["REF","REF","ROOM","phx_close",{}]`},
		"down":    {"", `["REF","REF","ROOM","phx_error",{"reason":"unavailable"}]`},
	} {
		for _, renewal := range []bool{true, false} {
			topic := fmt.Sprintf("room:%s:%v", name, renewal)
			client := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "jti": "a"}))
			asked := 0
			ref := 0
			for joined := false; !joined; ref++ { // again where a busy machine sees the permission late
				life, first := time.Second<<ref, true
				app.mu.Lock()
				app.answer = func(string, string, string) string {
					switch {
					case !first:
						return c.then
					case renewal:
						first = false
						return `{"allow":true}`
					}
					first = false
					return fmt.Sprintf(`{"allow":true,"expires_at":%.3f}`, float64(time.Now().Add(life).UnixMilli())/1000)
				}
				asked = len(app.asked) + 1
				app.mu.Unlock()
				client.Send(fmt.Sprintf(`["%d","%d","%s","phx_join",{"ref":%d}]`, ref, ref, topic, ref))
				joined = strings.Contains(client.Next(), `"status":"ok"`)
			}
			fill := strings.NewReplacer("REF", fmt.Sprint(ref-1), "ROOM", topic).Replace
			want := map[string]bool{}
			if renewal {
				client.Send(fill(`["REF","r","ROOM","access_token",{"access_token":"` + token(jwt.MapClaims{"sub": "7", "jti": "b"}) + `"}]`))
				want[fill(renewed)] = true
			}
			if c.frame != "" {
				want[fill(c.frame)] = true
			}
			for len(want) > 0 {
				frame := client.Next()
				if !want[frame] {
					t.Fatalf("%s: %s, want %v", topic, frame, want)
				}
				delete(want, frame)
			}
			n.Eventually("asked again", func() bool { return len(app.requests()) > asked })
			client.Beat()
			client.Close()
		}
	}
}

// TestHookSaysWhatAPushDoes pushes what becomes of the answers that there are.
func TestHookSaysWhatAPushDoes(t *testing.T) {
	t.Parallel()
	app := newApplication(t, func(hook, _, event string) string {
		if hook == "join" {
			return `{"allow":true}`
		}
		return map[string]string{
			"none":      `{"allow":true}`,
			"answered":  `{"allow":true,"do":"none","reply":{"n":5}}`,
			"broadcast": `{"allow":true,"do":"broadcast"}`,
			"changed":   `{"allow":true,"do":"broadcast","event":"shown","payload":{"b":2}}`,
			"logged":    `{"allow":true,"do":"log","event":"kept","payload":{"c":3}}`,
			"no":        `{"allow":false}`,
			"why":       `{"allow":false,"reason":"too loud"}`,
			"odd":       `{"allow":true,"do":"shout"}`,
		}[event]
	})
	n, _, token := hooked(t, app, unchanged)
	c := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7"}))
	c.Send(`["1","1","room:1","phx_join",{}]`)
	c.Expect(`["1","1","room:1","phx_reply",{"status":"ok","response":{}}]`)
	for i, each := range []struct{ event, status, response, also string }{
		{"none", "ok", `{}`, ""},
		{"answered", "ok", `{"n":5}`, ""},
		{"broadcast", "ok", `{}`, `[null,null,"room:1","broadcast",{"a":1}]`},
		{"changed", "ok", `{}`, `[null,null,"room:1","shown",{"b":2}]`},
		{"logged", "ok", `{}`, `[null,null,"room:1","kept",{"c":3}]`},
		{"no", "error", `{"reason":"forbidden"}`, ""},
		{"why", "error", `{"reason":"too loud"}`, ""},
		{"odd", "error", `{"reason":"unavailable"}`, ""},
		{"down", "error", `{"reason":"unavailable"}`, ""},
	} {
		c.Send(fmt.Sprintf(`["1","p%d","room:1","%s",{"a":1}]`, i, each.event))
		want := map[string]bool{fmt.Sprintf(`["1","p%d","room:1","phx_reply",{"status":"%s","response":%s}]`, i, each.status, each.response): true}
		if each.also != "" {
			want[each.also] = true
		}
		for len(want) > 0 {
			frame := c.Next()
			if !want[frame] {
				t.Fatalf("%s: %s, want %v", each.event, frame, want)
			}
			delete(want, frame)
		}
	}
	// In order, though the application takes its time, and many at once.
	const pushes = 50
	for i := range pushes {
		c.Send(fmt.Sprintf(`["1","q%d","room:1","none",{"n":%d}]`, i, i))
	}
	for i := range pushes {
		c.Expect(fmt.Sprintf(`["1","q%d","room:1","phx_reply",{"status":"ok","response":{}}]`, i))
	}
	asked := app.requests()
	for i, body := range asked[len(asked)-pushes:] {
		if !strings.Contains(body, fmt.Sprintf(`"payload":{"n":%d}`, i)) {
			t.Errorf("push %d was asked about as %s", i, body)
		}
	}
}

// TestHookSaysWhoMayConnect has an application say who connects, over both transports.
func TestHookSaysWhoMayConnect(t *testing.T) {
	t.Parallel()
	app := newApplication(t, nil)
	n, service, _ := hooked(t, app, func(c *sluice.Config) {
		c.JWTSecretFile, c.Anonymous = "", nil
		c.Hooks.Connect = sluice.Hook{URL: app.server.URL, Timeout: time.Minute, Headers: []string{"cookie", "X-None"}}
		c.Topics = []sluice.TopicRule{{Match: "room:*", Access: "token", Publish: "broadcast"}, {Match: "asked", Access: "hook"}}
	})
	for answer, want := range map[string]struct {
		status int
		metric string
	}{
		`{"allow":false,"reason":"banned"}`: {403, "hook"},
		`{"allow":false}`:                   {403, "hook"},
		`{"allow":1}`:                       {503, "unavailable"},
		`{"allow":true,"claims":{"jti":5}}`: {503, "unavailable"},
		`{"allow":true,"expires_at":7}`:     {403, "hook"},
		``:                                  {503, "unavailable"},
	} {
		app.answers(answer)
		if status := n.Refused("/socket", "token=anything"); status != want.status {
			t.Errorf("%q: refused with %d, want %d", answer, status, want.status)
		}
		polled := map[int]string{403: `{"status":403,`, 503: `{"status":500,`}[want.status] // what the stock client knows
		if _, body := n.Request("GET", n.Public, "/socket/longpoll?vsn=2.0.0", nil, ""); !strings.HasPrefix(body, polled) {
			t.Errorf("%q: a long-poll is answered %s", answer, body)
		}
		if _, text := n.Ask("GET", "/metrics"); !strings.Contains(text, `sluice_sockets_refused_total{`) || !strings.Contains(text, `reason="`+want.metric+`"`) {
			t.Errorf("%q: no refusal counted as %s", answer, want.metric)
		}
	}
	app.answers(`{"allow":true,"sub":"7","topics":["room:7"],"claims":{"role":"guest","sub":"8"}}`)
	c := n.Connect("/socket", "token=anything&a[b]=c")
	asked := app.requests()
	last := asked[len(asked)-1]
	for _, part := range []string{`{"hook":"connect","params":{"a":{"b":"c"},"token":"anything"`, `"transport":"websocket"`, `"remote_addr":"127.0.0.1:`} {
		if !strings.Contains(last, part) {
			t.Errorf("asked %s, without %s", last, part)
		}
	}
	c.Send(`["1","1","room:7","phx_join",{}]`)
	c.Expect(`["1","1","room:7","phx_reply",{"status":"ok","response":{}}]`)
	c.Send(`["2","2","room:8","phx_join",{}]`)
	c.Expect(`["2","2","room:8","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
	c.Send(`["3","3","asked","phx_join",{}]`)
	c.Expect(`["3","3","asked","phx_reply",{"status":"ok","response":{}}]`)
	asked = app.requests()
	if last = asked[len(asked)-1]; !strings.Contains(last, `"sub":"7","claims":{"role":"guest","sub":"7","topics":["room:7"]}`) {
		t.Errorf("asked about %s", last)
	}
	// What there was at start stays; the rest can go.
	hooks := app.hooks()
	if err := service.ReloadWith(nil, hooks, nil); err == nil || !strings.Contains(err.Error(), "by a restart") {
		t.Errorf("reloaded with no hook connect: %v", err)
	}
	// Whoever it has let in is closed by who they are.
	if status, body := n.Request("POST", n.Admin, "/api/revoke", map[string]string{"Content-Type": "application/json"}, fmt.Sprintf(`{"sub":"7","issued_before":%q,"until":%q}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339), time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339))); status != http.StatusOK {
		t.Fatal(status, body)
	}
	if code := c.Closed(); code != 1008 {
		t.Errorf("revoked, closed with %d", code)
	}
	if status := n.Refused("/socket", ""); status != 403 {
		t.Errorf("revoked, refused with %d", status)
	}
}

// TestStormOfJoins has more clients join at a time than are asked about and may wait:
// some are told so at once, nobody is let in, and all that come again are.
func TestStormOfJoins(t *testing.T) {
	t.Parallel()
	app := newApplication(t, nil)
	app.answers(heldAnswer)
	n, _, token := hooked(t, app, func(c *sluice.Config) {
		c.Hooks.Join.MaxInFlight = 2
	})
	const topics, refused = 60, 60 - 2 - 32 // 2 are asked about, 32 wait
	c := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7"}))
	join := func(i int) { c.Send(fmt.Sprintf(`["%d","%d","room:%d","phx_join",{}]`, i, i, i)) }
	for i := range topics {
		join(i)
	}
	answered := func() (i int, in bool) {
		reply := c.Next()
		if _, err := fmt.Sscanf(reply, `["%d"`, &i); err != nil {
			t.Fatal(reply)
		}
		in = reply == fmt.Sprintf(`["%d","%d","room:%d","phx_reply",{"status":"ok","response":{}}]`, i, i, i)
		if !in && reply != fmt.Sprintf(`["%d","%d","room:%d","phx_reply",{"status":"error","response":{"reason":"unavailable"}}]`, i, i, i) {
			t.Fatal(reply)
		}
		return i, in
	}
	var again []int
	for range refused {
		i, in := answered()
		if in {
			t.Fatalf("room:%d was joined, and nobody has allowed it", i)
		}
		again = append(again, i)
	}
	close(app.release)
	for _, i := range again { // as fast as they can be, so that some may be refused once more
		join(i)
	}
	for joined := 0; joined < topics; {
		i, in := answered()
		if in {
			joined++
			continue
		}
		join(i)
	}
}

// TestHooksAreReadAgain reloads hooks and rules.
func TestHooksAreReadAgain(t *testing.T) {
	t.Parallel()
	app, other := newApplication(t, nil), newApplication(t, nil)
	app.answers(`{"allow":true,"response":{"from":1}}`)
	other.answers(`{"allow":true,"response":{"from":2}}`)
	n, service, token := hooked(t, app, func(c *sluice.Config) { c.Topics = []sluice.TopicRule{{Match: "room:*"}} })
	c := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7"}))
	c.Send(`["1","1","room:1","phx_join",{}]`)
	c.Expect(`["1","1","room:1","phx_reply",{"status":"ok","response":{}}]`)
	asks := []sluice.TopicRule{{Match: "room:*", Access: "hook"}}
	if err := service.ReloadWith(asks, sluice.Hooks{}, nil); err == nil || !strings.Contains(err.Error(), "Topics[0].Access") {
		t.Errorf("a rule that asks nobody: %v", err)
	}
	if err := service.ReloadWith(asks, sluice.Hooks{SecretFile: app.secret + "x", Join: sluice.Hook{URL: app.server.URL}}, nil); err == nil || !strings.Contains(err.Error(), "Hooks.SecretFile") {
		t.Errorf("a secret that is not there: %v", err)
	}
	// Who has been let in by something else is to be asked about.
	if err := service.Reload(asks); err != nil {
		t.Fatal(err)
	}
	c.Expect(`["1","1","room:1","phx_error",{"reason":"unauthorized"}]`)
	c.Send(`["2","2","room:1","phx_join",{}]`)
	c.Expect(`["2","2","room:1","phx_reply",{"status":"ok","response":{"from":1}}]`)
	// Another backend: what the one before has allowed stays, and the next join asks the other.
	if err := service.ReloadWith(asks, other.hooks(), nil); err != nil {
		t.Fatal(err)
	}
	c.Beat()
	c.Send(`["3","3","room:1","phx_join",{}]`)
	if frames := c.Next() + c.Next(); !strings.Contains(frames, `{"from":2}`) || !strings.Contains(frames, `["2","2","room:1","phx_close",{}]`) {
		t.Error(frames)
	}
}

// TestWrongHooks refuses what cannot be asked.
func TestWrongHooks(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := sluice.Hook{URL: "https://app.example.org/hook"}
	for field, change := range map[string]func(*sluice.Config){
		"Hooks.SecretFile":       func(c *sluice.Config) { c.Hooks.Join = good },
		"Hooks.SecretFile ":      func(c *sluice.Config) { c.Hooks.SecretFile = secret },
		"Hooks.SecretFile  ":     func(c *sluice.Config) { c.Hooks.Join, c.Hooks.SecretFile = good, secret },
		"Hooks.SecretFile   ":    func(c *sluice.Config) { c.Hooks.Join, c.Hooks.SecretFile = good, secret+"x" },
		"Hooks.Join.URL":         func(c *sluice.Config) { c.Hooks.Join.URL = "app/hook" },
		"Hooks.Join.URL ":        func(c *sluice.Config) { c.Hooks.Join.Timeout = time.Second },
		"Hooks.Push.URL":         func(c *sluice.Config) { c.Hooks.Push.URL = "ftp://app" },
		"Hooks.Push.Cache":       func(c *sluice.Config) { c.Hooks.Push = sluice.Hook{URL: good.URL, Cache: time.Second} },
		"Hooks.Join.Cache":       func(c *sluice.Config) { c.Hooks.Join = sluice.Hook{URL: good.URL, Cache: -time.Second} },
		"Hooks.Join.Timeout":     func(c *sluice.Config) { c.Hooks.Join = sluice.Hook{URL: good.URL, Timeout: time.Hour} },
		"Hooks.Join.MaxInFlight": func(c *sluice.Config) { c.Hooks.Join = sluice.Hook{URL: good.URL, MaxInFlight: -1} },
		"Hooks.Join.Headers":     func(c *sluice.Config) { c.Hooks.Join = sluice.Hook{URL: good.URL, Headers: []string{"Cookie"}} },
		"Hooks.Connect.Headers":  func(c *sluice.Config) { c.Hooks.Connect = sluice.Hook{URL: good.URL, Headers: []string{"a b"}} },
		"Anonymous":              func(c *sluice.Config) { c.Hooks.Connect, c.Anonymous = good, new(true) },
		"Topics[0].Access":       func(c *sluice.Config) { c.Topics = []sluice.TopicRule{{Match: "a", Access: "hook"}} },
		"Topics[0].Publish":      func(c *sluice.Config) { c.Topics = []sluice.TopicRule{{Match: "a", Publish: "hook"}} },
	} {
		config := sluice.Config{DataDir: t.TempDir()}
		change(&config)
		_, err := sluice.New(config)
		if err == nil || !strings.Contains(err.Error(), "sluice: "+strings.TrimSpace(field)+" is ") {
			t.Errorf("%s: %v", field, err)
		}
	}
}
