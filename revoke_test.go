package sluice_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

const tokenSecret = "a secret that is long enough for HS256"

// withTokens serves clients with tokens, and others too.
func withTokens(t *testing.T, change func(*sluice.Config)) func(*sluice.Config) {
	path := put(t, filepath.Join(t.TempDir(), "secret"), tokenSecret)
	return func(c *sluice.Config) {
		c.JWTSecretFile, c.Anonymous = path, new(true)
		change(c)
	}
}

func unchanged(*sluice.Config) {}

// issued is a subject's token, of this id, that was issued so long ago; "" and 0 for
// one that does not say.
func issued(t *testing.T, subject, id string, ago time.Duration) string {
	t.Helper()
	claims := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()}
	if subject != "" {
		claims["sub"] = subject
	}
	if id != "" {
		claims["jti"] = id
	}
	if ago != 0 {
		claims["iat"] = time.Now().Add(-ago).Unix()
	}
	return signed(t, jwt.SigningMethodHS256, []byte(tokenSecret), claims)
}

// revoke asks a node to.
func revoke(t *testing.T, n *sluicetest.Node, body string) {
	t.Helper()
	if status, answer := n.Request("POST", n.Admin, "/api/revoke", nil, body); status != 200 {
		t.Fatalf("revoke %s: %d %s", body, status, answer)
	}
}

func join(c *sluicetest.Client) {
	c.Send(`["1","1","hall","phx_join",{}]`)
	c.Expect(`["1","1","hall","phx_reply",{"status":"ok","response":{}}]`)
}

// TestRevoke revokes some of the tokens that clients are connected with, or bring: which
// are hit is told by all of them.
func TestRevoke(t *testing.T) {
	t.Parallel()
	type client struct {
		subject, id string
		ago         time.Duration
	}
	const old, newer = time.Hour, -30 * time.Minute // the newer one is issued by a clock that is ahead, by more than a test takes
	everybody := []client{
		{"7", "", old}, {"7", "", 0}, {"7", "x", old}, {"7", "x", 0}, {"7", "", newer}, {"7", "y", newer},
		{"8", "", old}, {"8", "x", 0}, {"8", "x", newer}, {"", "x", old}, {"", "", 0}, {"x", "7", old}, {"-", "", 0},
	}
	at := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339Nano) }
	for name, test := range map[string]struct {
		body string
		hit  func(c client) bool
	}{
		"a subject": {`{"sub":"7"}`, func(c client) bool { return c.subject == "7" && c.ago != newer }},
		"a subject, before long ago": {`{"sub":"7","issued_before":"` + at(-2*time.Hour) + `"}`,
			func(c client) bool { return c.subject == "7" && c.ago == 0 }},
		"a subject, whenever": {`{"sub":"7","issued_before":"` + at(2*time.Hour) + `","until":"` + at(3*time.Hour) + `"}`,
			func(c client) bool { return c.subject == "7" }},
		"a token": {fmt.Sprintf(`{"jti":"x","until":%d}`, time.Now().Add(time.Hour).Unix()), func(c client) bool { return c.id == "x" }},
		"nobody":  {`{"sub":"9"}`, func(client) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := sluicetest.Run(t, sluicetest.With(withTokens(t, unchanged)))
			connected := make([]*sluicetest.Client, len(everybody))
			params := make([]string, len(everybody))
			for i, c := range everybody {
				if c.subject != "-" { // who has none is no business of revocations
					params[i] = "token=" + issued(t, c.subject, c.id, c.ago)
				}
				connected[i] = n.Connect("/socket", params[i])
				join(connected[i])
			}
			revoke(t, n, test.body)
			revoke(t, n, test.body)
			refused := 0
			for i, c := range everybody {
				if !test.hit(c) {
					connected[i].Beat()
					n.Connect("/socket", params[i]).Beat()
					continue
				}
				refused++
				if code := connected[i].Closed(); code != 1008 {
					t.Errorf("%+v: closed with %d", c, code)
				}
				if status := n.Refused("/socket", params[i]); status != 403 {
					t.Errorf("%+v: refused with %d", c, status)
				}
			}
			_, metrics := n.Ask("GET", "/metrics")
			if want := fmt.Sprintf(`reason="token_revoked"} %d`, refused); refused > 0 && !strings.Contains(metrics, want) || !strings.Contains(metrics, "sluice_revocations{") {
				t.Errorf("no %s among the metrics:\n%s", want, metrics)
			}
			n.Eventually("only those left have channels", func() bool {
				_, topics := n.Ask("GET", "/api/topics")
				return strings.Contains(topics, fmt.Sprintf(`"channels":%d`, len(everybody)-refused))
			})
		})
	}
}

// TestRevokedRenewal has sockets renew: the newest token is what counts.
func TestRevokedRenewal(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(withTokens(t, unchanged)))
	renew := func(c *sluicetest.Client, id, answer string) {
		t.Helper()
		c.Send(`["1","2","hall","access_token",{"access_token":"` + issued(t, "7", id, time.Hour) + `"}]`)
		c.Expect(`["1","2","hall","phx_reply",` + answer + `]`)
	}
	const ok, refused = `{"status":"ok","response":{}}`, `{"status":"error","response":{"reason":"unauthorized"}}`
	var clients [3]*sluicetest.Client // that come with a, and renew with b, not at all, and with c
	for i := range clients {
		clients[i] = n.Connect("/socket", "token="+issued(t, "7", "a", time.Hour))
		join(clients[i])
	}
	renew(clients[0], "b", ok)
	renew(clients[2], "c", ok)
	revoke(t, n, `{"jti":"a"}`)
	if code := clients[1].Closed(); code != 1008 {
		t.Errorf("closed with %d", code)
	}
	renew(clients[0], "a", refused)
	renew(clients[0], "b", ok)
	revoke(t, n, `{"jti":"b"}`)
	if code := clients[0].Closed(); code != 1008 {
		t.Errorf("closed with %d", code)
	}
	renew(clients[2], "b", refused)
	renew(clients[2], "d", ok)
}

// TestRevokedLongPoll ends a long-poll's session, and lets no other begin.
func TestRevokedLongPoll(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(withTokens(t, unchanged)))
	access := issued(t, "7", "", time.Hour)
	poll := func(method, params, body string) (said struct {
		Status int
		Token  string
	}) {
		t.Helper()
		_, answer := n.Request(method, n.Public, "/socket/longpoll?vsn=2.0.0&"+params, nil, body)
		if json.Unmarshal([]byte(answer), &said) != nil {
			t.Fatalf("%s: %s", method, answer)
		}
		return said
	}
	session := poll("GET", "access_token="+access+"&token="+access, "")
	if session.Status != 410 || session.Token == "" {
		t.Fatalf("no session: %+v", session)
	}
	if said := poll("POST", "token="+session.Token, `["1","1","hall","phx_join",{}]`); said.Status != 200 {
		t.Fatalf("joined with %+v", said)
	}
	revoke(t, n, `{"sub":"7"}`)
	if said := poll("GET", "token="+session.Token, ""); said.Status == 200 || said.Status == 204 {
		t.Errorf("the session goes on: %+v", said)
	}
	n.Eventually("gone", func() bool {
		_, list := n.Ask("GET", "/api/sockets")
		return !strings.Contains(list, "user:7")
	})
	if status, answer := n.Request("GET", n.Public, "/socket/longpoll?vsn=2.0.0&token="+access, nil, ""); status == 200 && !strings.Contains(answer, "403") {
		t.Errorf("begun anew: %d %s", status, answer)
	}
}

// TestRevocationReachesAllNodes revokes on one of two nodes, with a bus between them that
// works and one that does not, and starts a third afterwards.
func TestRevocationReachesAllNodes(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(*clustertest.Net){
		"with a bus": func(*clustertest.Net) {},
		"bus cut":    func(net *clustertest.Net) { net.Cut("a", "b") },
		"bus away":   func(net *clustertest.Net) { net.Away("a"); net.Away("b") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			net, url := clustertest.NewNet(t, 1), pgtest.Schema(t)
			serve := func(name string) *sluicetest.Node {
				return sluicetest.Run(t, sluicetest.WithBus(net.Join(name),
					withTokens(t, func(c *sluice.Config) { c.DatabaseURL = url }), func(*sluice.Service) error { return nil }))
			}
			a, b := serve("a"), serve("b")
			fault(net)
			token := "token=" + issued(t, "7", "", time.Hour)
			clients := []*sluicetest.Client{a.Connect("/socket", token), b.Connect("/socket", token)}
			stays := b.Connect("/socket", "token="+issued(t, "8", "", time.Hour))
			revoke(t, a, `{"sub":"7"}`)
			for _, c := range clients {
				if code := c.Closed(); code != 1008 {
					t.Errorf("closed with %d", code)
				}
			}
			stays.Beat()
			for _, n := range []*sluicetest.Node{a, b, serve("c")} {
				if status := n.Refused("/socket", token); status != 403 {
					t.Errorf("refused with %d", status)
				}
				if _, list := n.Ask("GET", "/api/revocations"); !strings.Contains(list, `"sub":"7"`) {
					t.Errorf("listed are %s", list)
				}
			}
		})
	}
}

// TestRevocationsOutOfSight hides the table from a running node for as long as it goes by
// what it knew: then clients with tokens are told to come again later, by the sockets that
// are there too, and all goes on once it is back. Who has no token notices nothing.
func TestRevocationsOutOfSight(t *testing.T) {
	t.Parallel()
	url := pgtest.Schema(t)
	n := sluicetest.Run(t, sluicetest.With(withTokens(t, func(c *sluice.Config) { c.DatabaseURL = url })))
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rename := func(from, to string) {
		if _, err := db.ExecContext(context.Background(), fmt.Sprintf(`ALTER TABLE %s RENAME TO %s`, from, to)); err != nil {
			t.Fatal(err)
		}
	}
	revoke(t, n, `{"sub":"9"}`)
	token := issued(t, "7", "", time.Hour)
	member, anyone := n.Connect("/socket", "token="+token), n.Connect("/socket", "")
	join(member)
	rename("sluice_revocations", "hidden")
	n.Eventually("too old", func() bool {
		_, stats := n.Ask("GET", "/api/stats")
		return strings.Contains(stats, `"known":false`)
	})
	if status := n.Refused("/socket", "token="+token); status != 503 {
		t.Errorf("refused with %d", status)
	}
	const unavailable = `"phx_reply",{"status":"error","response":{"reason":"unavailable"}}]`
	member.Send(`["2","3","other","phx_join",{}]`)
	member.Expect(`["2","3","other",` + unavailable)
	member.Send(`["1","4","hall","access_token",{"access_token":"` + token + `"}]`)
	member.Expect(`["1","4","hall",` + unavailable)
	member.Beat()
	join(anyone)
	n.Connect("/socket", "").Beat()
	n.Eventually("not ready", func() bool {
		status, body := n.Ask("GET", "/readyz")
		return status == 503 && strings.Contains(body, "revocations")
	})
	if _, metrics := n.Ask("GET", "/metrics"); !strings.Contains(metrics, `reason="unavailable"} 1`) || !strings.Contains(metrics, "sluice_revocations_age{") ||
		!strings.Contains(metrics, `reason="unavailable",status="rejected"} 1`) {
		t.Errorf("metrics:\n%s", metrics)
	}
	rename("hidden", "sluice_revocations")
	n.Eventually("ready again", func() bool {
		status, _ := n.Ask("GET", "/readyz")
		return status == 200
	})
	n.Connect("/socket", "token="+token).Beat()
	if status := n.Refused("/socket", "token="+issued(t, "9", "", time.Hour)); status != 403 {
		t.Errorf("who was revoked before is refused with %d", status)
	}
	member.Send(`["2","5","other","phx_join",{}]`)
	member.Expect(`["2","5","other","phx_reply",{"status":"ok","response":{}}]`)
}

// TestRevocationOutlastsTheNode revokes by a node without keys, and for tokens that may
// live for ever.
func TestRevocationOutlastsTheNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(change func(*sluice.Config)) func(*sluice.Config) {
		return func(c *sluice.Config) { c.DataDir = dir; change(c) }
	}
	n := sluicetest.Run(t, sluicetest.With(with(unchanged)))
	revoke(t, n, `{"sub":"7"}`)
	if _, stats := n.Ask("GET", "/api/stats"); strings.Contains(stats, "revocations") {
		t.Errorf("a node without keys counts them: %s", stats)
	}
	n.Stop()
	n = sluicetest.Run(t, sluicetest.With(with(withTokens(t, func(c *sluice.Config) { c.JWTRequireExp = new(false) }))))
	if status := n.Refused("/socket", "token="+issued(t, "7", "", time.Hour)); status != 403 {
		t.Errorf("refused with %d", status)
	}
	status, answer := n.Request("POST", n.Admin, "/api/revoke", nil, `{"sub":"8"}`)
	if status != 400 || !strings.Contains(answer, "until") {
		t.Errorf("without an end: %d %s", status, answer)
	}
	revoke(t, n, fmt.Sprintf(`{"sub":"8","until":%d}`, time.Now().Add(24*time.Hour).Unix()))
}
