package sluice_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestTopicsOfOnesOwn has users of every name join topics of their own, and of others.
func TestTopicsOfOnesOwn(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(withTokens(t, func(c *sluice.Config) {
		c.JWTRequireExp = new(false)
		c.Topics = []sluice.TopicRule{
			{Match: "user:first"}, // before the rule that would count else
			{Match: "user:{sub}", Publish: "broadcast"},
			{Match: "user:{sub}:inbox", Access: "token"},
			{Match: "{sub}", Presence: sluice.PresenceRule{On: true}},
			{Match: "user:{sub", Access: "deny"},
			{Match: "user:open*"},
		}
	})))
	joined := func(claims jwt.MapClaims, topic string) bool {
		t.Helper()
		query := ""
		if claims != nil {
			text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(tokenSecret))
			if err != nil {
				t.Fatal(err)
			}
			query = "token=" + text
		}
		c := n.Connect("/socket", query)
		defer c.Close()
		c.Send(fmt.Sprintf(`["1","1",%q,"phx_join",{}]`, topic))
		return strings.Contains(c.Next(), `"status":"ok"`)
	}
	for _, subject := range []string{"7", "*", "7*", "7:8", "{sub}", "auth0|a b", "é", "room:*", "7:inbox", strings.Repeat("7", 200)} {
		me := jwt.MapClaims{"sub": subject}
		for _, prefix := range []string{"user:", ""} {
			if want := prefix+subject != "user:7:inbox"; joined(me, prefix+subject) != want { // which is 7's
				t.Errorf("%q may join %s: %v", subject, prefix+subject, !want)
			}
		}
		for _, topic := range []string{"user:" + subject + "8", "user:8", "user:", "user:*", "user:x{sub}", "user:" + subject + ":inbox", "8", "user:8" + subject, "user:" + subject + ":"} {
			if topic != "user:"+subject && joined(me, topic) {
				t.Errorf("%q may join %s", subject, topic)
			}
		}
	}
	for _, nobody := range []jwt.MapClaims{nil, {}, {"sub": ""}, {"topics": []string{"*"}}} {
		for _, topic := range []string{"user:", "user:{sub}", "user:7", "{sub}", "7"} {
			if joined(nobody, topic) {
				t.Errorf("%v may join %s", nobody, topic)
			}
		}
	}
	seven := jwt.MapClaims{"sub": "7", "topics": []string{"user:7:inbox", "user:8:inbox"}}
	for topic, want := range map[string]bool{"user:7:inbox": true, "user:8:inbox": false, "user:first": true, "user:opened": true, "user:{sub": false} {
		if joined(seven, topic) != want {
			t.Errorf("7 may join %s: %v", topic, !want)
		}
	}
	// The user's own rule says what else holds on it.
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "7"}).SignedString([]byte(tokenSecret))
	if err != nil {
		t.Fatal(err)
	}
	c := n.Connect("/socket", "token="+text)
	c.Send(`["1","1","user:7","phx_join",{}]`)
	c.Next()
	c.Send(`["1","2","user:7","shout",{"a":1}]`)
	if frames := c.Next() + c.Next(); !strings.Contains(frames, `[null,null,"user:7","shout",{"a":1}]`) || !strings.Contains(frames, `"status":"ok"`) {
		t.Error(frames)
	}
	for _, wrong := range []string{"user:{sub}*", "user:{sub}:*", "{sub}:{sub}"} {
		if _, err := sluice.New(sluice.Config{DataDir: t.TempDir(), Topics: []sluice.TopicRule{{Match: wrong}}}); err == nil || !strings.Contains(err.Error(), "Topics[0].Match") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
