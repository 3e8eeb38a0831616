package socket

import (
	"testing"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
)

// TestBinary speaks version 2 in binary: pushes, replies and broadcasts, and
// what clients of version 1 get of it.
func TestBinary(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a, b, old := r.connect(version2), r.connect(version2), r.connect(0)
		a.join("room:a", `{}`)
		b.join("room:a", `{"after":null}`)
		old.text(`{"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}`)
		old.want(`{"topic":"room:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}`)
		send := func(ref, event, data string) {
			frame := []byte{kindPush, 1, byte(len(ref)), 6, byte(len(event))}
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

func TestBinaryDecodesAsNothingElse(t *testing.T) {
	t.Parallel()
	p := channels.Payload{Data: []byte("{}"), Binary: true}
	if p.Decode(new(any)) == nil {
		t.Fatal("bytes are not JSON")
	}
}
