package socket

import (
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestWire goes through the protocol line by line, over both transports. Each
// case is named after what it shows.
func TestWire(t *testing.T) {
	t.Parallel()
	const v1, v2 = outbound.Format(0), phoenix.Version2
	for _, c := range []struct {
		name   string
		format outbound.Format
		script string
	}{
		{"heartbeat is answered", v2, `
			a> [null,"7","phoenix","heartbeat",{}]
			a< [null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]`},
		{"other events of phoenix are unmatched", v2, `
			a> [null,"7","phoenix","x",{}]
			a< [null,"7","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]
			a> ["1","8","phoenix","phx_join",{}]
			a< [null,"8","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`},
		{"more elements are ignored", v2, `
			a> [null,"7","phoenix","heartbeat",{},1,[2]]
			a< [null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]`},
		{"refs go back with their type", v2, `
			a> [1,2,"room:a","phx_join",{}]
			a< [1,2,"room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:b","phx_join",{}]
			a< ["1","2","room:b","phx_reply",{"status":"ok","response":{}}]`},
		{"version 1", v1, `
			a> {"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}
			a< {"topic":"phoenix","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"phx_join","payload":{},"ref":2}
			a< {"topic":"room:a","event":"phx_reply","ref":2,"payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"push","payload":{"x":1},"ref":"3"}
			a< {"topic":"room:a","event":"pushed","ref":null,"payload":{"x":1}}
			a< {"topic":"room:a","event":"phx_reply","ref":"3","payload":{"status":"ok","response":{}}}
			! log room:a created {"id":7}
			a< {"topic":"room:a","event":"created","ref":null,"payload":{"id":7}}`},
		{"version 1 accepts join_ref and does not send it", v1, `
			a> {"topic":"room:a","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}
			a< {"topic":"room:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"phx_leave","payload":{},"ref":"2","join_ref":"1"}
			a< {"topic":"room:a","event":"phx_reply","ref":"2","payload":{"status":"ok","response":{}}}
			a< {"topic":"room:a","event":"phx_close","ref":"1","payload":{}}`},
		{"version 1 without join_ref is told which join has ended", v1, `
			a> {"topic":"room:a","event":"phx_join","payload":{},"ref":"1"}
			a< {"topic":"room:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"phx_leave","payload":{},"ref":"2"}
			a< {"topic":"room:a","event":"phx_reply","ref":"2","payload":{"status":"ok","response":{}}}
			a< {"topic":"room:a","event":"phx_close","ref":"1","payload":{}}
			a> {"topic":"room:a","event":"phx_join","payload":{},"ref":"3"}
			a< {"topic":"room:a","event":"phx_reply","ref":"3","payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"phx_join","payload":{},"ref":4}
			a< {"topic":"room:a","event":"phx_close","ref":"3","payload":{}}
			a< {"topic":"room:a","event":"phx_reply","ref":4,"payload":{"status":"ok","response":{}}}
			a> {"topic":"room:a","event":"panic","payload":{},"ref":"5"}
			a< {"topic":"room:a","event":"phx_error","ref":4,"payload":{"reason":"channel_crash"}}`},
		{"join with a reply", v2, `
			a> ["1","1","room:a","phx_join",{"reply":{"n":1}}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{"n":1}}]`},
		{"join rejected", v2, `
			a> ["1","1","room:a","phx_join",{"do":"reject"}]
			a< ["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"not you"}}]
			a> ["1","2","room:a","echo",{}]
			a< [null,"2","room:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`},
		{"a crash in join", v2, `
			a> ["1","1","room:a","phx_join",{"do":"panic"}]
			a< ["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]
			a> ["2","2","broken","phx_join",{}]
			a< ["2","2","broken","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]
			a> [null,"3","phoenix","heartbeat",{}]
			a< [null,"3","phoenix","phx_reply",{"status":"ok","response":{}}]`},
		{"an error in join tells the client nothing", v2, `
			a> ["1","1","room:a","phx_join",{"do":"fail"}]
			a< ["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]`},
		{"nothing can be pushed before the join is answered", v2, `
			a> ["1","1","room:a","phx_join",{"do":"push"}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a- nothing`},
		{"over the channel limit", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["2","2","room:b","phx_join",{}]
			a< ["2","2","room:b","phx_reply",{"status":"ok","response":{}}]
			a> ["3","3","room:c","phx_join",{}]
			a< ["3","3","room:c","phx_reply",{"status":"error","response":{"reason":"too many channels joined"}}]
			a> ["4","4","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_close",{}]
			a< ["4","4","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"topic that nothing serves", v2, `
			a> ["1","1","nobody","phx_join",{}]
			a< [null,"1","nobody","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`},
		{"event for a topic not joined", v2, `
			a> ["1","1","room:a","echo",{}]
			a< [null,"1","room:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`},
		{"joined again", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["2","2","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_close",{}]
			a< ["2","2","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["2","3","room:a","joins",{}]
			a< ["2","3","room:a","phx_reply",{"status":"ok","response":1}]
			! log room:a created {}
			a< [null,null,"room:a","created",{}]
			a- nothing`},
		{"a message with a stale join_ref is ignored", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["0","2","room:a","echo",{}]
			a> ["0","3","room:a","phx_leave",{}]
			a- nothing
			a> ["1","4","room:a","echo",{}]
			a< ["1","4","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"a null join_ref is accepted", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> [null,"2","room:a","echo",{"x":[1]}]
			a< ["1","2","room:a","phx_reply",{"status":"ok","response":{"x":[1]}}]`},
		{"leave", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","phx_leave",{}]
			a< ["1","2","room:a","phx_reply",{"status":"ok","response":{}}]
			a< ["1","1","room:a","phx_close",{}]
			! log room:a created {}
			a- nothing
			a> ["1","3","room:a","phx_leave",{}]
			a< ["1","3","room:a","phx_reply",{"status":"ok","response":{}}]
			a- nothing`},
		{"leave of a topic not joined", v2, `
			a> ["1","1","room:a","phx_leave",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"replies", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","echo","text"]
			a< ["1","2","room:a","phx_reply",{"status":"ok","response":"text"}]
			a> ["1","3","room:a","fail",{}]
			a< ["1","3","room:a","phx_reply",{"status":"error","response":{"reason":"no"}}]
			a> ["1","4","room:a","silent",{}]
			a> ["1",null,"room:a","echo",{}]
			a< ["1",null,"room:a","phx_reply",{"status":"ok","response":{}}]
			a- nothing`},
		{"a reply that is no JSON", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","unencodable",{}]
			a< ["1","2","room:a","phx_reply",{"status":"error","response":{}}]
			a> ["1","3","room:a","explosive",{}]
			a< ["1","3","room:a","phx_reply",{"status":"error","response":{}}]`},
		{"push from server: ref null, join_ref set", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","push",{"x":1}]
			a< ["1",null,"room:a","pushed",{"x":1}]
			a< ["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"broadcast: both null", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			b> ["1","1","room:a","phx_join",{"after":null}]
			b< ["1","1","room:a","phx_reply",{"status":"ok","response":{"offset":0,"epoch":"E","resumed":true}}]
			a> ["1",null,"room:a","broadcast",{"x":1}]
			a< [null,null,"room:a","news",{"x":1}]
			b< [null,null,"room:a","news",{"data":{"x":1}}]
			a> ["1",null,"room:a","broadcast_from",{"x":2}]
			b< [null,null,"room:a","news",{"data":{"x":2}}]
			a- nothing
			! cast room:a tick {"x":3}
			a< [null,null,"room:a","tick",{"x":3}]
			b< [null,null,"room:a","tick",{"data":{"x":3}}]`},
		{"handler crashed", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["2","2","room:b","phx_join",{}]
			a< ["2","2","room:b","phx_reply",{"status":"ok","response":{}}]
			a> ["1","3","room:a","panic",{}]
			a< ["1","1","room:a","phx_error",{"reason":"channel_crash"}]
			a> ["2","4","room:b","echo",{}]
			a< ["2","4","room:b","phx_reply",{"status":"ok","response":{}}]
			a> ["5","5","room:a","phx_join",{}]
			a< ["5","5","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"stopped with an error", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","stop_crash",{}]
			a< ["1","1","room:a","phx_error",{"reason":"channel_crash"}]`},
		{"stopped normally", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","stop",{}]
			a< ["1","1","room:a","phx_close",{}]
			a> ["3","3","room:a","phx_join",{}]
			a< ["3","3","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["3","4","room:a","stop_reply",{}]
			a< ["3","4","room:a","phx_reply",{"status":"ok","response":{}}]
			a< ["3","3","room:a","phx_close",{}]`},
		{"a channel that takes nothing in", v2, `
			a> ["1","1","quiet","phx_join",{}]
			a< ["1","1","quiet","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","quiet","x",{}]
			a< ["1","2","quiet","phx_reply",{"status":"error","response":{"reason":"unmatched event"}}]`},
		{"events of the protocol are not for clients to send", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","phx_close",{}]
			a< ["1","2","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["1","3","room:a","chan_reply_7",{}]
			a< ["1","3","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["1","4","room:a","presence_diff",{"joins":{}}]
			a< ["1","4","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["1","5","room:a","sluice_position",{"offset":9}]
			a< ["1","5","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["1","6","room:a","",{}]
			a< ["1","6","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["1","7","room:a","e\u0000",{}]
			a< ["1","7","room:a","phx_reply",{"status":"error","response":{"reason":"invalid event"}}]
			a> ["8","8","room:\u0007","phx_join",{}]
			a< [null,"8","room:\u0007","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`},
		{"a token is the socket's own", v2, `
			a> ["1","1","params:a","phx_join",{"access_token":"secret","config":{"x":[1,"access_token"]},"\u0061ccess_token":"secret"}]
			a< ["1","1","params:a","phx_reply",{"status":"ok","response":{"config":{"x":[1,"access_token"]}}}]
			a> ["3","3","room:a","phx_join",{}]
			a< ["3","3","room:a","phx_reply",{"status":"ok","response":{}}]
			b> ["1","1","room:a","phx_join",{}]
			b< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["3","4","room:a","access_token",{"access_token":"secret"}]
			a< ["3","4","room:a","phx_reply",{"status":"ok","response":{}}]
			b- nothing`},
		{"published events come back", v2, `
			a> ["1","1","room:a","phx_join",{}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			a> ["1","2","room:a","publish",{"x":1}]
			a< [null,null,"room:a","created",{"x":1}]
			a< ["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`},
		{"after null: from now on, with offsets", v2, `
			! log room:a created {"id":1}
			a> ["1","1","room:a","phx_join",{"after":null,"reply":{"n":1}}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{"n":1,"offset":1,"epoch":"E","resumed":true}}]
			! log room:a created {"id": 2}
			! log room:b created {"id": 3}
			! log room:a created {"id": 4}
			a< [null,null,"room:a","created",{"offset":2,"data":{"id": 2}}]
			a< [null,null,"room:a","created",{"offset":4,"data":{"id": 4}}]
			a- nothing`},
		{"after the head", v2, `
			! log room:a created {}
			a> ["1","1","room:a","phx_join",{"after":1}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{"offset":1,"epoch":"E","resumed":true}}]
			a> ["2","2","room:b","phx_join",{"after":1,"epoch":"E"}]
			a< ["2","2","room:b","phx_reply",{"status":"ok","response":{"offset":1,"epoch":"E","resumed":true}}]`},
		{"after what cannot be resumed", v2, `
			! log room:a created {}
			a> ["1","1","room:a","phx_join",{"after":5}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{"offset":1,"epoch":"E","resumed":false}}]
			a> ["2","2","room:b","phx_join",{"after":1,"epoch":"F"}]
			a< ["2","2","room:b","phx_reply",{"status":"ok","response":{"offset":1,"epoch":"E","resumed":false}}]`},
		{"anything else after", v2, `
			a> ["1","1","room:a","phx_join",{"after":-1}]
			a< ["1","1","room:a","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]
			a> ["2","2","room:a","phx_join",{"after":"1.0"}]
			a< ["2","2","room:a","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]
			a> ["3","3","room:a","phx_join",{"after":1.5}]
			a< ["3","3","room:a","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]
			a> ["4","4","room:a","phx_join",{"after":9223372036854775808}]
			a< ["4","4","room:a","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]`},
		{"a plain join sees plain Phoenix", v2, `
			a> ["1","1","room:a","phx_join",{"nested":{"after":1}}]
			a< ["1","1","room:a","phx_reply",{"status":"ok","response":{}}]
			! log room:a created {"id":1}
			a< [null,null,"room:a","created",{"id":1}]`},
	} {
		for transport, connect := range map[string]func(*rig) peer{
			"websocket": func(r *rig) peer { return r.connect(c.format) },
			"longpoll":  func(r *rig) peer { return r.poll(c.format) },
		} {
			t.Run(c.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, func(c *Config) { c.MaxChannels = 2 })
					r.play(func() peer { return connect(r) }, c.script)
				})
			})
		}
	}
}
