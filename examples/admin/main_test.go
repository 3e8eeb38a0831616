package main

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

const token = "s3cret"

func run(t *testing.T) *sluicetest.Node {
	t.Helper()
	return sluicetest.Run(t, func(ctx context.Context, config sluice.Config) error { return serve(ctx, config, token) })
}

func TestTry(t *testing.T) {
	t.Parallel()
	node := run(t)
	ann, bob := node.Connect("/socket", "user=ann"), node.Connect("/socket", "user=bob")
	ann.Beat()
	bob.Beat()
	admin := node.Connect("/admin", "token="+token)
	frames := sluicetest.Frames(try)
	admin.Send(frames[0])
	admin.Expect(`["1","1","users","phx_reply",{"status":"ok","response":{}}]`)

	admin.Send(frames[1])
	list := admin.Next()
	for _, want := range []string{`"id":"ann","mount":"/socket"`, `"id":"bob","mount":"/socket"`, `"id":"admin","mount":"/admin"`} {
		if !strings.Contains(list, want) {
			t.Errorf("not in the list: %s\n%s", want, list)
		}
	}

	admin.Send(frames[2])
	admin.Expect(`["1","3","users","phx_reply",{"status":"ok","response":{"closed":1}}]`)
	if code := ann.Closed(); code != 1001 {
		t.Errorf("ann's socket was closed with %d", code)
	}
	bob.Beat() // and bob's was not
}

func TestMountsAreApart(t *testing.T) {
	t.Parallel()
	node := run(t)
	for _, params := range []string{"", "token=", "token=guessed"} {
		if status := node.Refused("/admin", params); status != http.StatusUnauthorized {
			t.Errorf("%q was answered %d", params, status)
		}
	}
	user := node.Connect("/socket", "user=ann&token="+token)
	user.Send(`["1","1","users","phx_join",{}]`) // open as any topic, and without an admin's channel
	user.Expect(`["1","1","users","phx_reply",{"status":"ok","response":{}}]`)
	user.Send(`["1","2","users","disconnect",{"id":"ann"}]`)
	user.Expect(`["1","2","users","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`)

	admin := node.Connect("/admin", "token="+token)
	admin.Send(`["1","1","news","phx_join",{}]`)
	admin.Expect(`[null,"1","news","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
}
