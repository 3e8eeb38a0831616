package main

import (
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

func TestTry(t *testing.T) {
	t.Parallel()
	ann := sluicetest.Run(t, serve).Connect("/socket", "")
	frames := sluicetest.Frames(try)
	ann.Send(frames[0])
	ann.Expect(`["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]`)
	ann.Send(frames[1])
	ann.Expect(`[null,null,"room:lobby","said",{"name":"ann","text":"hello"}]`)
	ann.Expect(`["1","2","room:lobby","phx_reply",{"status":"ok","response":{}}]`)
	ann.Send(`["1","3","room:lobby","say",7]`)
	ann.Expect(`["1","3","room:lobby","phx_reply",{"status":"error","response":{"reason":"not said"}}]`)
}

func TestNames(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, serve)
	const (
		welcome = `["1","1","room:a","phx_reply",{"status":"ok","response":{}}]`
		missing = `["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"name missing"}}]`
		taken   = `["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"name taken"}}]`
	)
	for _, c := range []struct{ params, want string }{
		{`{"name":"ann"}`, welcome},
		{`{"name":"ann"}`, taken},
		{`{"name":"bob"}`, welcome},
		{`{"name":""}`, missing},
		{`{}`, missing},
		{`"ann"`, missing},
	} {
		client := node.Connect("/socket", "")
		client.Send(`["1","1","room:a","phx_join",` + c.params + `]`)
		client.Expect(c.want)
	}
	elsewhere := node.Connect("/socket", "")
	elsewhere.Send(`["1","1","room:b","phx_join",{"name":"ann"}]`)
	elsewhere.Expect(`["1","1","room:b","phx_reply",{"status":"ok","response":{}}]`)
}

func TestComingAndGoing(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, serve)
	join := func(name string) *sluicetest.Client {
		client := node.Connect("/socket", "")
		client.Send(`["1","1","room:a","phx_join",{"name":"` + name + `"}]`)
		client.Expect(`["1","1","room:a","phx_reply",{"status":"ok","response":{}}]`)
		return client
	}
	ann, bob := join("ann"), join("bob")
	ann.Expect(`[null,null,"room:a","joined",{"name":"bob","text":""}]`)

	bob.Send(`["1","2","room:a","phx_leave",{}]`)
	ann.Expect(`[null,null,"room:a","left",{"name":"bob","text":""}]`)

	join("bob").Close() // the name is free again
	ann.Expect(`[null,null,"room:a","joined",{"name":"bob","text":""}]`)
	ann.Expect(`[null,null,"room:a","left",{"name":"bob","text":""}]`)
}
