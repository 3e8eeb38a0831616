package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const secret = "the e2e tests' own secret, of more than 32 bytes"

// secretFile keeps a secret as the service wants it.
func secretFile(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// claims are what a token says.
type claims map[string]any

// sign makes a token (RFC 7515, section 3.1) with HS256.
func (c claims) sign(t testing.TB) string {
	t.Helper()
	return c.signWith(t, `{"alg":"HS256","typ":"JWT"}`, secret)
}

func (c claims) signWith(t testing.TB, header, secret string) string {
	t.Helper()
	if _, said := c["exp"]; !said { // without it a token is refused
		c = maps.Clone(c)
		c["exp"] = time.Now().Add(time.Hour).Unix()
	}
	body, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + encode(body)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + encode(mac.Sum(nil))
}

// guarded are rules of which most need a token.
const guarded = `topics:
- {match: "lobby", access: public}
- {match: "chat:*", access: token, publish: broadcast}
- {match: "closed:*", access: deny}
- {match: "orders:*", access: token}
`

// A client that brings a good token may connect, by whichever way, and others
// may not.
func TestTokenToConnect(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	good := claims{"sub": "42", "exp": time.Now().Add(time.Hour).Unix()}.sign(t)
	for _, try := range []struct {
		says, token string
		accepted    bool
	}{
		{"good", good, true},
		{"good, of another form", claims{"sub": "42", "topics": []string{"*"}}.signWith(t, `{"alg":"HS256"}`, secret), true},
		{"none", "", false},
		{"no token", "letmein", false},
		{"expired", claims{"sub": "42", "exp": time.Now().Add(-time.Hour).Unix()}.sign(t), false},
		{"not yet valid", claims{"sub": "42", "nbf": time.Now().Add(time.Hour).Unix()}.sign(t), false},
		{"signed with another secret", claims{"sub": "42"}.signWith(t, `{"alg":"HS256"}`, "another"), false},
		{"signed with nothing", claims{"sub": "42"}.signWith(t, `{"alg":"none"}`, secret), false},
		{"without signature", strings.TrimRight(good, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"), false},
		{"changed", strings.Replace(good, ".", ".e", 1), false},
		{"of claims that are none", claims{"sub": 42, "topics": "all"}.sign(t), false},
	} {
		bearer := "phoenix"
		if try.token != "" {
			bearer += ", base64url.bearer.phx." + base64.RawStdEncoding.EncodeToString([]byte(try.token))
		}
		query := "vsn=2.0.0&token=" + url.QueryEscape(try.token)
		for _, way := range []struct {
			says, query, protocol, header string
		}{
			{"connect param token", query, "", ""},
			{"by subprotocol", "vsn=2.0.0", bearer, try.token},
			{"by subprotocol, which wins", "vsn=2.0.0&token=letmein", bearer, try.token},
		} {
			if try.token == "" && strings.Contains(way.says, "wins") {
				continue // nothing is there to win
			}
			t.Run(way.says+": "+try.says, func(t *testing.T) {
				status, poll := http.StatusForbidden, 403
				if try.accepted {
					status, poll = http.StatusSwitchingProtocols, 410
				}
				response := dialRaw(t, s.public).upgrade(t, "/socket/websocket?"+way.query, map[string]string{"Sec-WebSocket-Protocol": way.protocol})
				if response.StatusCode != status {
					t.Errorf("answered %s, want %d", response.Status, status)
				}
				answer := get(t, s.public, "/socket/longpoll?"+way.query+"&token=null", map[string]string{"X-Phoenix-AuthToken": way.header})
				if answer.Status != poll {
					t.Errorf("a poll is answered %d, want %d", answer.Status, poll)
				}
			})
		}
	}
	t.Run("a nested token is none", func(t *testing.T) {
		if response := dialRaw(t, s.public).upgrade(t, "/socket/websocket?vsn=2.0.0&token[jwt]="+good, nil); response.StatusCode != http.StatusForbidden {
			t.Errorf("answered %s", response.Status)
		}
	})
}

// Rules and the token's own list say who may join.
func TestTokenToJoin(t *testing.T) {
	t.Parallel()
	ruled := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t), "--anonymous", "--config", config(t, guarded)).ready(t)
	free := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	own := claims{"sub": "42", "topics": []string{"orders:eu*", "chat:42", "closed:42", "unruled"}}.sign(t)
	listless := claims{"sub": "42"}.sign(t)
	for _, try := range []struct {
		says    string
		service *service
		token   string
		topics  map[string]bool // may be joined
	}{
		{"rules, no token", ruled, "", map[string]bool{"lobby": true, "chat:42": false, "orders:eu": false, "closed:42": false, "unruled": false}},
		{"rules, a token that lists topics", ruled, own, map[string]bool{
			"lobby": true, "chat:42": true, "chat:421": false, "orders:eu": true, "orders:eu:west": true, "orders:us": false, "closed:42": false, "unruled": false}},
		{"rules, a token that lists none", ruled, listless, map[string]bool{"lobby": true, "chat:42": false, "orders:eu": false}},
		{"no rules, a token that lists topics", free, own, map[string]bool{"orders:eu": true, "unruled": true, "lobby": false, "chat:421": false}},
		{"no rules, a token that lists none", free, listless, map[string]bool{"orders:eu": true, "lobby": true}},
	} {
		t.Run(try.says, func(t *testing.T) {
			c := dialRaw(t, try.service.public)
			if response := c.upgrade(t, "/socket/websocket?vsn=2.0.0&token="+try.token, nil); response.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %s", response.Status)
			}
			for topic, may := range try.topics {
				want := `{"status":"error","response":{"reason":"unauthorized"}}`
				if may {
					want = `{"status":"ok","response":{}}`
				}
				c.text(t, fmt.Sprintf(`["1","1",%q,"phx_join",{}]`, topic))
				c.expectJSON(t, fmt.Sprintf(`["1","1",%q,"phx_reply",%s]`, topic, want))
			}
		})
	}
}

// Every flavour brings its token in the way that it knows.
func TestTokenOfStockClients(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t), "--config", config(t, guarded)).ready(t)
	token := claims{"sub": "42", "topics": []string{"chat:*"}}.sign(t)
	options := map[string]string{
		"phoenix16":   fmt.Sprintf(`{"params":{"token":%q}}`, token),
		"phoenix1721": fmt.Sprintf(`{"params":{"token":%q}}`, token),
		"phoenix17":   fmt.Sprintf(`{"params":{"token":%q}}`, token),
		"phoenix18":   fmt.Sprintf(`{"authToken":%q}`, token),
	}
	for i, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			c := connect(t, s.public, append(append([]string{}, f.args...), options[f.args[0]])...)
			topic := fmt.Sprintf("chat:%d", i)
			c.join(t, topic, nil)
			c.do(t, "push", map[string]any{"topic": topic, "event": "said", "payload": map[string]any{"id": 1}})
			c.expect(t, "message", topic, "said", "", `{"id":1}`)
			c.expect(t, "reply", topic, "said", "ok", `{}`)
			c.do(t, "join", map[string]any{"topic": "orders:eu"})
			c.expect(t, "refused", "orders:eu", "", "", `{"reason":"unauthorized"}`)
		})
	}
	t.Run("refused: a stock client is not let in", func(t *testing.T) {
		for _, f := range flavours {
			c := dial(t, s.public, f.args...)
			c.next(t, "close")
			if len(c.said("open")) > 0 {
				t.Errorf("%s was let in without a token", f.name)
			}
		}
	})
}

// The token's exp ends the access: 1008. Until then another token renews it,
// and no channel is lost.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	var ends, renewed *raw
	for within := 3 * time.Second; ends == nil; within *= 2 { // a machine may be too slow for it
		if within > patience {
			t.Fatalf("no token has been renewed in time")
		}
		ends, renewed = expiring(t, s, time.Now().Add(within))
	}
	ends.expectClose(t, 1008)
	renewed.alive(t)
	s.publish(t, "/api/broadcast", "orders", `{"id":1}`)
	renewed.expectJSON(t, `[null,null,"orders","created",{"id":1}]`)
}

// expiring connects two sockets whose token expires, and renews that of the second. It
// returns none where the token has expired before.
func expiring(t *testing.T, s *service, at time.Time) (ends, renewed *raw) {
	t.Helper()
	at = time.Unix(at.Unix(), 0) // that a token has it in seconds
	short := claims{"sub": "42", "exp": at.Unix()}.sign(t)
	// ask sends a message and tells whether it has been answered as it should be, in time.
	ask := func(c *raw, message, want string) bool {
		t.Helper()
		_, _ = c.conn.Write(frame(fin|opText, message)) // an error is one of read, too
		op, got, err := c.read()
		if err == nil && op == opText && plain(t, string(got)) == plain(t, want) {
			return true
		}
		if time.Now().Before(at) {
			t.Fatalf("got a frame %#x %s (%v), want %s", op, got, err, want)
		}
		return false
	}
	for _, c := range []**raw{&ends, &renewed} {
		*c = dialRaw(t, s.public)
		if response := (*c).upgrade(t, "/socket/websocket?vsn=2.0.0&token="+short, nil); response.StatusCode != http.StatusSwitchingProtocols {
			if time.Now().Before(at) {
				t.Fatalf("answered %s", response.Status)
			}
			return nil, nil
		}
		if !ask(*c, `["1","1","orders","phx_join",{}]`, `["1","1","orders","phx_reply",{"status":"ok","response":{}}]`) {
			return nil, nil
		}
	}
	for _, renewal := range []struct{ payload, answer string }{
		{`{"access_token":"letmein"}`, `{"status":"error","response":{"reason":"unauthorized"}}`},
		{fmt.Sprintf(`{"access_token":%q}`, claims{"sub": "43"}.sign(t)), `{"status":"error","response":{"reason":"unauthorized"}}`},
		{fmt.Sprintf(`{"access_token":%q}`, claims{"sub": "42"}.sign(t)), `{"status":"ok","response":{}}`},
	} {
		if !ask(renewed, fmt.Sprintf(`["1","2","orders","access_token",%s]`, renewal.payload), fmt.Sprintf(`["1","2","orders","phx_reply",%s]`, renewal.answer)) {
			return nil, nil
		}
	}
	return ends, renewed
}

// The token's sub names its sockets, so that an operator can close them: 1001.
func TestDisconnect(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	open := func(sub string) *raw {
		c := dialRaw(t, s.public)
		c.upgrade(t, "/socket/websocket?vsn=2.0.0&token="+claims{"sub": sub}.sign(t), nil)
		c.alive(t)
		return c
	}
	gone, gonetoo, stays := open("42"), open("42"), open("43")
	status, body := s.ask(t, http.MethodDelete, "/api/sockets/user:42", "", "")
	if status != http.StatusOK || plain(t, body) != `{"closed":2}` {
		t.Errorf("answered %d %s", status, body)
	}
	gone.expectClose(t, 1001)
	gonetoo.expectClose(t, 1001)
	stays.alive(t)
	if status, body := s.ask(t, http.MethodDelete, "/api/sockets/user:44", "", ""); status != http.StatusOK || plain(t, body) != `{"closed":0}` {
		t.Errorf("closing nobody is answered %d %s", status, body)
	}
}
