package socket

import (
	"testing"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestBinary speaks version 2 in binary: pushes, replies and broadcasts, and
// what clients of version 1 get of it.
func TestBinary(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a, b, old := r.connect(phoenix.Version2), r.connect(phoenix.Version2), r.connect(0)
		a.join("room:a", `{}`)
		b.join("room:a", `{"after":null}`)
		old.text(`{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}`)
		old.want(`{"topic":"room:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}`)
		send := func(ref, event, data string) {
			frame := []byte{0, 1, byte(len(ref)), 6, byte(len(event))}
			a.frame(ws.OpBinary, true, string(frame)+"1"+ref+"room:a"+event+data)
		}

		send("12", "echo", "\x00\xff")
		a.want(`binary "\x01\x01\x02\x06\x02112room:aok\x00\xff"`)
		send("", "push", "\x00\xff")
		a.want(`binary "\x00\x01\x06\x061room:apushed\x00\xff"`)
		a.want(`["1",null,"room:a","phx_reply",{"status":"ok","response":{}}]`)
		send("3", "fail", "")
		a.want(`["1","3","room:a","phx_reply",{"status":"error","response":{"reason":"no"}}]`)
		send("4", "publish", "\x00")
		a.want(`["1","4","room:a","phx_reply",{"status":"error","response":{"reason":"publish \"created\": store: invalid event: payload is binary: the log holds JSON objects only"}}]`)

		send("", "broadcast", "\x01\x02")
		a.want(`binary "\x02\x06\x04room:anews\x01\x02"`)
		b.want(`binary "\x02\x06\x04room:anews\x01\x02"`)
		old.quiet() // its protocol has no form for it
		old.text(`{"topic":"room:a","event":"echo","payload":{},"ref":"2"}`)
		old.want(`{"topic":"room:a","event":"phx_reply","ref":"2","payload":{"status":"ok","response":{}}}`)

		// A stale join_ref counts here too, and a join may be binary.
		a.frame(ws.OpBinary, true, "\x00\x01\x01\x06\x0495room:aecho")
		a.quiet()
		a.frame(ws.OpBinary, true, "\x00\x01\x01\x06\x0866room:bphx_join")
		a.want(`["6","6","room:b","phx_reply",{"status":"ok","response":{}}]`)
	})
}

// TestBinaryOfOtherKinds sends what realtime-js does, and what nobody does: who can be
// answered is, and the connection goes on.
func TestBinaryOfOtherKinds(t *testing.T) {
	const mine = "151room:ashout" // join_ref 1, ref 51, topic, event
	lengths := "\x01\x02\x06\x05"
	for name, test := range map[string]struct{ frame, want string }{
		"broadcast":            {"\x03" + lengths + "\x00\x01" + mine + `{"x":1}`, `[null,null,"room:a","news",{"type":"broadcast","event":"shout","payload":{"x":1}}]`},
		"with metadata":        {"\x03" + lengths + "\x02\x01" + mine + `{}[1]`, `[null,null,"room:a","news",{"type":"broadcast","event":"shout","payload":[1]}]`},
		"with quotes":          {"\x03\x01\x02\x06\x01\x00\x01" + `151room:a"{}`, `[null,null,"room:a","news",{"type":"broadcast","event":"\"","payload":{}}]`},
		"not JSON":             {"\x03" + lengths + "\x00\x01" + mine + `{"x"`, `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`},
		"more than one value":  {"\x03" + lengths + "\x00\x01" + mine + `1},{"x":1`, `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`},
		"binary":               {"\x03" + lengths + "\x00\x00" + mine + "\xff", `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`},
		"unknown encoding":     {"\x03" + lengths + "\x00\x02" + mine + "{}", `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"invalid payload"}}]`},
		"the server's reply":   {"\x01" + lengths + mine, `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"unknown kind of message"}}]`},
		"realtime's own":       {"\x04" + lengths + mine, `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"unknown kind of message"}}]`},
		"the highest":          {"\xff" + lengths + mine, `["1","51","room:a","phx_reply",{"status":"error","response":{"reason":"unknown kind of message"}}]`},
		"without a ref":        {"\xff\x01\x00\x06\x051room:ashout", ""},
		"ends in its header":   {"\x03\x01", ""},
		"ends in its fields":   {"\x03" + lengths + "\xff\x01" + mine, ""},
		"unknown and not UTF8": {"\x08\x01\x01\x01\x01\xff\xff\xff\xff", ""},
		"nothing":              {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				c := r.connect(phoenix.Version2)
				c.join("room:a", `{}`)
				c.frame(ws.OpBinary, true, test.frame)
				if test.want == "" {
					c.want(`close 1011`)
					return
				}
				c.want(test.want)
				c.text(`[null,"9","phoenix","heartbeat",{}]`)
				c.want(`[null,"9","phoenix","phx_reply",{"status":"ok","response":{}}]`)
			})
		})
	}
}

func TestBinaryDecodesAsNothingElse(t *testing.T) {
	t.Parallel()
	p := outbound.Payload{Data: []byte("{}"), Binary: true}
	if p.Decode(new(any)) == nil {
		t.Fatal("bytes are not JSON")
	}
}
