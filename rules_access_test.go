package sluice_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// guarded runs a service with a secret for tokens, and rules.
func guarded(t *testing.T) (n *sluicetest.Node, token func(jwt.MapClaims) string) {
	t.Helper()
	const secret = "a secret that is long enough for HS256"
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	anonymous := true
	n = sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) {
		c.JWTSecretFile, c.Anonymous, c.JWTRequireExp = path, &anonymous, new(false)
		c.Topics = []sluice.TopicRule{
			{Match: "hall", Publish: "broadcast"},
			{Match: "room:*", Access: "token", Publish: "log"},
			{Match: "cellar", Access: "deny"},
		}
	}))
	return n, func(claims jwt.MapClaims) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
}

func TestRulesSayWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	n, token := guarded(t)
	if status := n.Refused("/socket", "token=nonsense"); status != 403 {
		t.Errorf("a bad token was answered %d", status)
	}

	anyone := n.Connect("/socket", "")
	anyone.Send(`["1","1","hall","phx_join",{}]`)
	anyone.Expect(`["1","1","hall","phx_reply",{"status":"ok","response":{}}]`)
	anyone.Send(`["2","2","room:7","phx_join",{}]`)
	anyone.Expect(`["2","2","room:7","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
	anyone.Send(`["3","3","elsewhere","phx_join",{}]`)
	anyone.Expect(`["3","3","elsewhere","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)

	seven := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "topics": []string{"room:7", "cellar"}}))
	seven.Send(`["1","1","cellar","phx_join",{}]`)
	seven.Expect(`["1","1","cellar","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
	seven.Send(`["2","2","room:8","phx_join",{}]`)
	seven.Expect(`["2","2","room:8","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
	seven.Send(`["3","3","hall","phx_join",{}]`)
	seven.Expect(`["3","3","hall","phx_reply",{"status":"ok","response":{}}]`)

	// A push is broadcast to all, the sender included.
	anyone.Send(`["1","4","hall","shout",{"a":1}]`)
	seven.Expect(`[null,null,"hall","shout",{"a":1}]`)
	anyone.Expect(`[null,null,"hall","shout",{"a":1}]`)
	anyone.Expect(`["1","4","hall","phx_reply",{"status":"ok","response":{}}]`)

	// A push is logged, and comes back as an event of the log.
	seven.Send(`["5","5","room:7","phx_join",{"after":0}]`)
	if reply := seven.Next(); !strings.Contains(reply, `"resumed":true`) {
		t.Fatal(reply)
	}
	seven.Send(`["5","6","room:7","said",{"b":2}]`)
	got := map[string]bool{seven.Next(): true, seven.Next(): true} // the answer and the event, in either order
	for _, want := range []string{
		`["5","6","room:7","phx_reply",{"status":"ok","response":{}}]`,
		`[null,null,"room:7","said",{"offset":1,"data":{"b":2}}]`,
	} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
	seven.Send(`["5","7","room:7","said",[1]]`)
	seven.Expect(`["5","7","room:7","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`)
	if status, body := n.Ask("DELETE", "/api/sockets/user:7"); status != 200 || !strings.Contains(body, `"closed":1`) {
		t.Errorf("disconnect: %d %s", status, body)
	}
	if code := seven.Closed(); code != 1001 {
		t.Errorf("disconnected with %d", code)
	}
}

// TestBurstOfPushesGoesInWhole sends what a client kept while it was away: all of it
// is logged, in order, though some of it is not valid.
func TestBurstOfPushesGoesInWhole(t *testing.T) {
	t.Parallel()
	const pushes = 1000
	n, token := guarded(t)
	c := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "topics": []string{"room:7"}}))
	c.Send(`["1","1","room:7","phx_join",{"after":0}]`)
	c.Next()
	go func() {
		for i := range pushes {
			c.Send(fmt.Sprintf(`["1","%d","room:7","said",{"n":%d}]`, i, i))
			if i == pushes/2 {
				c.Send(`["1","odd","room:7","said",5]`)
			}
		}
	}()
	said, answered, refused := 0, 0, 0
	for said < pushes || answered < pushes || refused == 0 {
		switch frame := c.Next(); {
		case frame == fmt.Sprintf(`[null,null,"room:7","said",{"offset":%d,"data":{"n":%d}}]`, said+1, said):
			said++
		case frame == fmt.Sprintf(`["1","%d","room:7","phx_reply",{"status":"ok","response":{}}]`, answered):
			answered++
		case answered == pushes/2+1 && frame == `["1","odd","room:7","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`:
			refused++
		default:
			t.Fatalf("after %d answers and %d events: %s", answered, said, frame)
		}
	}
}

func TestAccessEndsAndIsRenewed(t *testing.T) {
	t.Parallel()
	n, token := guarded(t)
	soon := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	client := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "exp": soon(time.Hour)}))
	client.Send(`["1","1","hall","phx_join",{}]`)
	client.Expect(`["1","1","hall","phx_reply",{"status":"ok","response":{}}]`)
	renew := func(ref int, claims jwt.MapClaims, status, response string) {
		client.Send(fmt.Sprintf(`["1","%d","hall","access_token",{"access_token":"%s"}]`, ref, token(claims)))
		client.Expect(fmt.Sprintf(`["1","%d","hall","phx_reply",{"status":"%s","response":%s}]`, ref, status, response))
	}
	renew(2, jwt.MapClaims{"sub": "8"}, "error", `{"reason":"unauthorized"}`)
	renew(3, jwt.MapClaims{"sub": "7", "exp": soon(time.Hour), "topics": []string{"room:7"}}, "ok", `{}`)
	client.Send(`["2","4","room:7","phx_join",{}]`)
	client.Expect(`["2","4","room:7","phx_reply",{"status":"ok","response":{}}]`)
	for within, ref := 2*time.Second, 5; ; within, ref = 2*within, ref+1 { // ends earlier than before
		client.Send(fmt.Sprintf(`["1","%d","hall","access_token",{"access_token":"%s"}]`, ref,
			token(jwt.MapClaims{"sub": "7", "exp": soon(within), "topics": []string{"room:7"}})))
		answer, closed := client.NextUnlessClosed()
		if closed == 1008 {
			return // it expired after it came, and before that was answered
		}
		if answer == fmt.Sprintf(`["1","%d","hall","phx_reply",{"status":"ok","response":{}}]`, ref) {
			break
		}
		refused := func(reason string) bool {
			return answer == fmt.Sprintf(`["1","%d","hall","phx_reply",{"status":"error","response":{"reason":"%s"}}]`, ref, reason)
		}
		late := refused("unauthorized") || refused("unavailable") // the latter of a node that could not read revocations for long
		if !late || within > sluicetest.Patience {                // it may have expired before it came
			t.Fatal(answer)
		}
	}
	if code := client.Closed(); code != 1008 {
		t.Errorf("closed with %d when the access had ended", code)
	}
}

// TestRenewingWithdraws renews with fewer topics. Whatever the channel was
// joined with, it has ended when the answer comes, and the next join is told
// why.
func TestRenewingWithdraws(t *testing.T) {
	t.Parallel()
	hour := time.Now().Add(time.Hour).Unix()
	for name, test := range map[string]struct {
		topics any // of the second token; nil: it lists none
		stays  bool
	}{
		"no topics":      {[]string{}, false},
		"other topics":   {[]string{"room:8"}, false},
		"no list at all": {nil, false},
		"the same":       {[]string{"room:7"}, true},
		"more":           {[]string{"room:*"}, true},
	} {
		for _, params := range []string{`{}`, `{"after":null}`} {
			t.Run(name+" "+params, func(t *testing.T) {
				t.Parallel()
				n, token := guarded(t)
				client := n.Connect("/socket", "token="+token(jwt.MapClaims{"sub": "7", "exp": hour, "topics": []string{"room:7"}}))
				client.Send(`["1","1","hall","phx_join",{}]`)
				client.Next()
				client.Send(`["2","2","room:7","phx_join",` + params + `]`)
				if reply := client.Next(); !strings.Contains(reply, `"ok"`) {
					t.Fatal(reply)
				}
				claims := jwt.MapClaims{"sub": "7", "exp": hour}
				if test.topics != nil {
					claims["topics"] = test.topics
				}
				client.Send(`["1","3","hall","access_token",{"access_token":"` + token(claims) + `"}]`)
				if !test.stays {
					client.Expect(`["2","2","room:7","phx_error",{"reason":"unauthorized"}]`)
				}
				client.Expect(`["1","3","hall","phx_reply",{"status":"ok","response":{}}]`)
				if status, body := n.Request("POST", n.Admin, "/api/broadcast", nil, `{"topic":"room:7","event":"e","payload":{}}`); status != 202 {
					t.Fatal(status, body)
				}
				if test.stays {
					if got := client.Next(); !strings.Contains(got, `"room:7","e"`) {
						t.Fatal(got)
					}
					return
				}
				client.Send(`["2","4","room:7","said",{}]`)
				client.Expect(`[null,"4","room:7","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
				client.Send(`["5","5","room:7","phx_join",` + params + `]`)
				client.Expect(`["5","5","room:7","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`)
				client.Beat() // the socket and what it may still see go on
			})
		}
	}
}
