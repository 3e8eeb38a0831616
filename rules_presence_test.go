package sluice_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// present runs a node whose rooms tell who is there, as the rule says.
func present(t *testing.T, rule sluice.PresenceRule, change func(*sluice.Config)) *sluicetest.Node {
	t.Helper()
	rule.On = true
	return sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.Topics = []sluice.TopicRule{{Match: "room:*", Publish: sluice.PublishLog, Presence: rule}, {Match: "*"}}
		if change != nil {
			change(c)
		}
	}))
}

// guest is a client, with a memory for refs.
type guest struct {
	*sluicetest.Client
	t     *testing.T
	refs  map[string]string
	diffs []string // that came before a reply, and have not been expected
}

// partsThatDiffer are those of a presence that are not the same each time.
var partsThatDiffer = regexp.MustCompile(`"(phx_ref|phx_ref_prev|online_at)":"([^"]*)"`)

// plain is a frame with its refs numbered in the order in which they come.
func (g *guest) plain(frame string) string {
	return partsThatDiffer.ReplaceAllStringFunc(frame, func(s string) string {
		part := partsThatDiffer.FindStringSubmatch(s)
		if part[1] == "online_at" {
			return `"online_at":"T"`
		}
		if g.refs[part[2]] == "" {
			g.refs[part[2]] = fmt.Sprint("R", len(g.refs)+1)
		}
		return fmt.Sprintf(`%q:%q`, part[1], g.refs[part[2]])
	})
}

// expect waits for the next frame, which has to be this one but for its refs.
func (g *guest) expect(frame string) {
	g.t.Helper()
	if got := g.plain(g.next()); got != frame {
		g.t.Fatalf("expected %s\n     got %s", frame, got)
	}
}

// next is the next frame that has not been expected.
func (g *guest) next() string {
	g.t.Helper()
	if len(g.diffs) == 0 {
		return g.Next()
	}
	first := g.diffs[0]
	g.diffs = g.diffs[1:]
	return first
}

// expectReply waits for a reply. Changes of who is there are told when an interval is
// over, which may be before it.
func (g *guest) expectReply(frame string) {
	g.t.Helper()
	for {
		got := g.Next()
		if got == frame {
			return
		}
		if !strings.Contains(got, `"presence_diff"`) {
			g.t.Fatalf("expected %s\n     got %s", frame, got)
		}
		g.diffs = append(g.diffs, got)
	}
}

// arrive connects, joins room:1 as the params say, and has been answered.
func arrive(t *testing.T, node *sluicetest.Node, connect, params string) *guest {
	t.Helper()
	g := &guest{Client: node.Connect("/socket", connect), t: t, refs: map[string]string{}}
	g.Send(`["1","1","room:1","phx_join",` + params + `]`)
	if reply := g.Next(); !strings.Contains(reply, `"status":"ok"`) {
		t.Fatalf("join: %s", reply)
	}
	return g
}

// As a channel that follows the presence of its topic is told who is there: on the wire
// that stock clients read, whether it resumes or not, and never twice.
func TestWhoIsHereIsToldAsStockClientsReadIt(t *testing.T) {
	t.Parallel()
	node := present(t, sluice.PresenceRule{Key: sluice.PresenceKeyClient}, nil)
	ann := arrive(t, node, "", `{"config":{"presence":{"key":"ann"}}}`)
	ann.expect(`["1",null,"room:1","presence_state",{"ann":{"metas":[{"phx_ref":"R1","online_at":"T"}]}}]`)
	ben := arrive(t, node, "", `{"after":null,"config":{"presence":{"key":"b\"én ☺"}}}`)
	ben.expect(`["1",null,"room:1","presence_state",{"ann":{"metas":[{"phx_ref":"R1","online_at":"T"}]},"b\"én ☺":{"metas":[{"phx_ref":"R2","online_at":"T"}]}}]`)
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{"b\"én ☺":{"metas":[{"phx_ref":"R2","online_at":"T"}]}},"leaves":{}}]`)
	tab := arrive(t, node, "", `{"config":{"presence":{"key":"ann"}}}`)
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{"ann":{"metas":[{"phx_ref":"R3","online_at":"T"}]}},"leaves":{}}]`)
	ben.expect(`[null,null,"room:1","presence_diff",{"joins":{"ann":{"metas":[{"phx_ref":"R3","online_at":"T"}]}},"leaves":{}}]`)
	_, body := node.Ask("GET", "/api/presence/room:1")
	if got, want := ben.plain(strings.TrimSpace(body)), `{"topic":"room:1","members":{"ann":{"metas":[{"phx_ref":"R1","online_at":"T"},{"phx_ref":"R3","online_at":"T"}]},"b\"én ☺":{"metas":[{"phx_ref":"R2","online_at":"T"}]}},"count":3}`; got != want {
		t.Errorf("GET /api/presence answers %s\nnot %s", got, want)
	}
	ben.Send(`["1","3","room:1","phx_leave",{}]`)
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{},"leaves":{"b\"én ☺":{"metas":[{"phx_ref":"R2","online_at":"T"}]}}}]`)
	tab.Close()
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{},"leaves":{"ann":{"metas":[{"phx_ref":"R3","online_at":"T"}]}}}]`)
	for path, want := range map[string]string{
		"/api/presence/room:1?count=true":  `{"topic":"room:1","count":1}`,
		"/api/presence/room%2Fnobody":      `{"topic":"room/nobody","members":{},"count":0}`,
		"/api/presence/room:1?count=maybe": `{"error":"count is neither true nor false","hint":"with count=true the members are left out"}`,
	} {
		if _, body := node.Ask("GET", path); strings.TrimSpace(body) != want {
			t.Errorf("GET %s answers %s, not %s", path, body, want)
		}
	}
	if other := arrive2(t, node, "lobby"); other.Next() != `[null,"beat","phoenix","phx_reply",{"status":"ok","response":{}}]` {
		t.Error("a topic without presence says who is there")
	}
}

// arrive2 joins another topic and sends a heartbeat.
func arrive2(t *testing.T, node *sluicetest.Node, topic string) *sluicetest.Client {
	t.Helper()
	c := node.Connect("/socket", "")
	c.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{}]`, topic))
	c.Expect(fmt.Sprintf(`["1","1",%q,"phx_reply",{"status":"ok","response":{}}]`, topic))
	c.Send(`[null,"beat","phoenix","heartbeat",{}]`)
	return c
}

// A client of supabase's realtime-js is there from when it tracks itself until it
// untracks; the same once more changes nothing, and pushes of the topic go on beside it.
func TestAClientTracksItself(t *testing.T) {
	t.Parallel()
	node := present(t, sluice.PresenceRule{Key: sluice.PresenceKeyClient, Meta: sluice.PresenceMetaClient, MaxMeta: 64}, nil)
	ann := arrive(t, node, "", `{}`)
	ann.expect(`["1",null,"room:1","presence_state",{}]`)
	ben := arrive(t, node, "", `{"config":{"presence":{"key":"ben"}}}`)
	ben.expect(`["1",null,"room:1","presence_state",{}]`)
	push := func(ref, payload, answer string) {
		t.Helper()
		ben.Send(fmt.Sprintf(`["1",%q,"room:1","presence",%s]`, ref, payload))
		ben.expectReply(fmt.Sprintf(`["1",%q,"room:1","phx_reply",%s]`, ref, answer))
	}
	const ok = `{"status":"ok","response":{}}`
	refused := func(reason string) string {
		return fmt.Sprintf(`{"status":"error","response":{"reason":%q}}`, reason)
	}
	push("2", `{"type":"presence","event":"TRACK","payload":{"at":{"x":[1,"é"]},"phx_ref":"mine"}}`, ok)
	push("3", `{"type":"presence","event":"track","payload":{ "at" : {"x":[1,"é"]}}}`, ok)
	push("4", `{"type":"presence","event":"track","payload":[]}`, refused("invalid meta"))
	push("5", `{"type":"presence","event":"track","payload":{"x":"`+strings.Repeat("y", 64)+`"}}`, refused("invalid meta"))
	push("6", `{"type":"presence","event":"track","payload":{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}}`, refused("invalid meta"))
	push("7", `{"type":"presence","event":"dance"}`, refused("invalid payload"))
	push("8", `[]`, refused("invalid payload"))
	const there = `{"ben":{"metas":[{"phx_ref":"R1","at":{"x":[1,"é"]}}]}}`
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":` + there + `,"leaves":{}}]`)
	ben.expect(`[null,null,"room:1","presence_diff",{"joins":` + there + `,"leaves":{}}]`)
	push("9", `{"event":"track","payload":{"away":true}}`, ok)
	const moved = `[null,null,"room:1","presence_diff",{"joins":{"ben":{"metas":[{"phx_ref":"R2","phx_ref_prev":"R1","away":true}]}},"leaves":` + there + `}]`
	ann.expect(moved)
	ben.expect(moved)
	push("10", `{"event":"track"}`, ok) // within a second of the last: it comes all the same
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{"ben":{"metas":[{"phx_ref":"R3","phx_ref_prev":"R2"}]}},"leaves":{"ben":{"metas":[{"phx_ref":"R2","away":true}]}}}]`)
	ben.next()
	push("11", `{"event":"untrack"}`, ok)
	push("12", `{"event":"untrack"}`, ok)
	ann.expect(`[null,null,"room:1","presence_diff",{"joins":{},"leaves":{"ben":{"metas":[{"phx_ref":"R3"}]}}}]`)
	ben.next()
	ben.Send(`["1","13","room:1","said",{}]`)
	ann.Expect(`[null,null,"room:1","said",{}]`)
}

// A key that breaks the clients of others is shown to nobody, and said in the log, not
// for each; who has it is in the room all the same, and sees the others.
func TestAHostileKeyIsNotShown(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	node := present(t, sluice.PresenceRule{Key: sluice.PresenceKeyClient}, func(c *sluice.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	hostile := []string{
		"__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
		"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", strings.Repeat("k", 256), "a\nb",
	}
	began := time.Now()
	for _, key := range hostile {
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		arrive(t, node, "", `{"config":{"presence":{"key":`+string(text)+`}}}`).expect(`["1",null,"room:1","presence_state",{}]`)
	}
	const lines, period = 10, 10 * time.Second // of channels.LogLimiter
	most := lines * (1 + int(time.Since(began)/period))
	if n := strings.Count(log.String(), "presence not shown"); n == 0 || n > most {
		t.Errorf("the log says %d times that a presence is not shown, and may %d times:\n%s", n, most, log.String())
	}
}

// What names a client is its token's sub, and without one its socket's id.
func TestPresenceIsKeyedByTheToken(t *testing.T) {
	t.Parallel()
	key := make32('k')
	secret := put(t, filepath.Join(t.TempDir(), "secret"), string(key))
	node := present(t, sluice.PresenceRule{}, func(c *sluice.Config) {
		c.JWTSecretFile, c.Anonymous, c.JWTRequireExp = secret, new(true), new(false)
	})
	ann := arrive(t, node, "token="+signed(t, jwt.SigningMethodHS256, key, jwt.MapClaims{"sub": "7"}), `{"config":{"presence":{"key":"king"}}}`)
	ann.expect(`["1",null,"room:1","presence_state",{"7":{"metas":[{"phx_ref":"R1","online_at":"T"}]}}]`)
	for range 2 {
		arrive(t, node, "", `{}`)
		diff := ann.Next()
		part := regexp.MustCompile(`"joins":{("[^"]+"):{"metas"`).FindStringSubmatch(diff)
		if _, sockets := node.Ask("GET", "/api/sockets"); part == nil || !strings.Contains(sockets, `{"id":`+part[1]) {
			t.Errorf("who comes without a token is %s, of %s", diff, sockets)
		}
	}
}
