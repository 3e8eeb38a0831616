package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// A step is what a client sends, and all that it is answered. A step that is
// answered nothing is followed by one whose answer would come after.
type step struct {
	send    string
	answers []string
}

// versionTwo are lines of the protocol on the wire of version 2: what the
// stock client does not show of them, and what it never sends.
var versionTwo = []struct {
	says  string
	steps []step
}{
	{"heartbeat: answered with its ref", []step{
		{`[null,"7","phoenix","heartbeat",{}]`, []string{`[null,"7","phoenix","phx_reply",{"status":"ok","response":{}}]`}},
	}},
	{"refs go back with the type they came with: strings", []step{
		{`["1","2","unruled","phx_join",{}]`, []string{`["1","2","unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`["1","3","unruled","said",{}]`, []string{`["1","3","unruled","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
	}},
	{"refs go back with the type they came with: numbers", []step{
		{`[1,2,"unruled","phx_join",{}]`, []string{`[1,2,"unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`[1,3,"unruled","said",{}]`, []string{`[1,3,"unruled","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
		{`[1,4,"unruled","phx_leave",{}]`, []string{
			`[1,4,"unruled","phx_reply",{"status":"ok","response":{}}]`,
			`[1,1,"unruled","phx_close",{}]`,
		}},
	}},
	{"refs go back with the type they came with: mixed, escaped, large", []step{
		{`["ü\u0041\n",12345678901234567890,"unruled","phx_join",{}]`, []string{`["üA\n",12345678901234567890,"unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`[null,"x\"y","phoenix","heartbeat",{}]`, []string{`[null,"x\"y","phoenix","phx_reply",{"status":"ok","response":{}}]`}},
	}},
	{"refs go back with the type they came with: null", []step{
		{`[null,null,"phoenix","heartbeat",{}]`, []string{`[null,null,"phoenix","phx_reply",{"status":"ok","response":{}}]`}},
		{`[null,null,"unruled","phx_join",{}]`, []string{`[null,null,"unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`[null,null,"nowhere","said",{}]`, []string{`[null,null,"nowhere","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
	}},
	{"more elements: ignored", []step{
		{`["1","2","unruled","phx_join",{},"more",[1,2],{"and":"more"}]`, []string{`["1","2","unruled","phx_reply",{"status":"ok","response":{}}]`}},
	}},
	{"broadcast: both null", []step{
		{`["1","2","chat:wire:null","phx_join",{}]`, []string{`["1","2","chat:wire:null","phx_reply",{"status":"ok","response":{}}]`}},
		{`["1","3","chat:wire:null","said",{"text":"hi"}]`, []string{
			`[null,null,"chat:wire:null","said",{"text":"hi"}]`,
			`["1","3","chat:wire:null","phx_reply",{"status":"ok","response":{}}]`,
		}},
	}},
	{"phx_join: error reply with join_ref and ref", []step{
		{`["1","2","denied:wire","phx_join",{}]`, []string{`["1","2","denied:wire","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]`}},
		{`["1","3","denied:wire","said",{}]`, []string{`[null,"3","denied:wire","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
	}},
	{"topic that nothing serves: unmatched topic, join_ref null", []step{
		{`["1","2","","phx_join",{}]`, []string{`[null,"2","","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
		{fmt.Sprintf(`["1","2",%q,"phx_join",{}]`, strings.Repeat("t", 256)), []string{
			fmt.Sprintf(`[null,"2",%q,"phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`, strings.Repeat("t", 256))}},
	}},
	{"an event for a topic not joined: unmatched topic, join_ref null", []step{
		{`["1","2","unruled","said",{}]`, []string{`[null,"2","unruled","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
		{`[null,"3","phoenix","said",{}]`, []string{`[null,"3","phoenix","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
	}},
	{"joined again: the old channel ends with its phx_close, the new join is answered", []step{
		{`["1","1","unruled","phx_join",{}]`, []string{`["1","1","unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`["2","2","unruled","phx_join",{}]`, []string{
			`["1","1","unruled","phx_close",{}]`,
			`["2","2","unruled","phx_reply",{"status":"ok","response":{}}]`,
		}},
	}},
	{"a message or leave with a stale join_ref: ignored", []step{
		{`["1","1","unruled","phx_join",{}]`, []string{`["1","1","unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`["2","2","unruled","phx_join",{}]`, []string{
			`["1","1","unruled","phx_close",{}]`,
			`["2","2","unruled","phx_reply",{"status":"ok","response":{}}]`,
		}},
		{`["1","3","unruled","said",{}]`, nil},
		{`["1","4","unruled","phx_leave",{}]`, nil},
		{`["2","5","unruled","said",{}]`, []string{`["2","5","unruled","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
	}},
	{"a null join_ref: accepted", []step{
		{`["1","1","unruled","phx_join",{}]`, []string{`["1","1","unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`[null,"2","unruled","said",{}]`, []string{`["1","2","unruled","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
		{`[null,"3","unruled","phx_leave",{}]`, []string{
			`["1","3","unruled","phx_reply",{"status":"ok","response":{}}]`,
			`["1","1","unruled","phx_close",{}]`,
		}},
	}},
	{"phx_leave: ok reply, then phx_close with ref and join_ref both the join_ref", []step{
		{`["a","b","unruled","phx_join",{}]`, []string{`["a","b","unruled","phx_reply",{"status":"ok","response":{}}]`}},
		{`["a","c","unruled","phx_leave",{}]`, []string{
			`["a","c","unruled","phx_reply",{"status":"ok","response":{}}]`,
			`["a","a","unruled","phx_close",{}]`,
		}},
		{`["a","d","unruled","said",{}]`, []string{`[null,"d","unruled","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
	}},
	{"phx_leave, not joined: ok reply only", []step{
		{`["1","2","unruled","phx_leave",{}]`, []string{`["1","2","unruled","phx_reply",{"status":"ok","response":{}}]`}},
	}},
	{"anything else than null or a non-negative integer: invalid after", []step{
		{`["1","2","unruled","phx_join",{"after":1e-3}]`, []string{`["1","2","unruled","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]`}},
		{`["1","3","unruled","phx_join",{"after":-1}]`, []string{`["1","3","unruled","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]`}},
		{`["1","4","unruled","phx_join",{"after":9223372036854775808}]`, []string{`["1","4","unruled","phx_reply",{"status":"error","response":{"reason":"invalid after"}}]`}},
		{`["1","5","unruled","phx_join",{"nested":{"after":"x"}}]`, []string{`["1","5","unruled","phx_reply",{"status":"ok","response":{}}]`}},
	}},
	{"client push in binary: answered with its refs as text", []step{
		{"\x00\x01\x01\x0a\x04" + "12" + "chat:bytes" + "said", []string{`[null,"2","chat:bytes","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`}},
		{`["1","2","silent:bytes","phx_join",{}]`, []string{`["1","2","silent:bytes","phx_reply",{"status":"ok","response":{}}]`}},
		{"\x00\x01\x01\x0c\x04" + "13" + "silent:bytes" + "said" + "\x00\xff", []string{`["1","3","silent:bytes","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
		{"\x00\x01\x01\x0c\x04" + "04" + "silent:bytes" + "said" + "stale", nil},
		{"\x00\x00\x01\x0c\x04" + "5" + "silent:bytes" + "said", []string{`["1","5","silent:bytes","phx_reply",{"status":"error","response":{"reason":"forbidden"}}]`}},
	}},
}

// versionOne are those of its lines that look different there.
var versionOne = []struct {
	says  string
	steps []step
}{
	{"text object topic, event, payload, ref", []step{
		{`{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`, []string{`{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`}},
		{`{"ref":2,"payload":{},"event":"phx_join","topic":"unruled","more":[]}`, []string{`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":2}`}},
		{`{"topic":"unruled","event":"said","payload":{},"ref":"3"}`, []string{`{"topic":"unruled","event":"phx_reply","payload":{"status":"error","response":{"reason":"forbidden"}},"ref":"3"}`}},
		{`{"topic":"unruled","event":"phx_leave","payload":{},"ref":"4"}`, []string{
			`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"4"}`,
			`{"topic":"unruled","event":"phx_close","payload":{},"ref":2}`,
		}},
	}},
	{"join_ref accepted when given, not sent", []step{
		{`{"topic":"unruled","event":"phx_join","payload":{},"ref":"0","join_ref":"1"}`, []string{`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"0"}`}},
		{`{"topic":"unruled","event":"said","payload":{},"ref":"2","join_ref":"stale"}`, nil},
		{`{"topic":"unruled","event":"said","payload":{},"ref":"3","join_ref":"1"}`, []string{`{"topic":"unruled","event":"phx_reply","payload":{"status":"error","response":{"reason":"forbidden"}},"ref":"3"}`}},
		{`{"topic":"unruled","event":"phx_leave","payload":{},"ref":"4","join_ref":"1"}`, []string{
			`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"4"}`,
			`{"topic":"unruled","event":"phx_close","payload":{},"ref":"1"}`,
		}},
	}},
	{"broadcast: ref null", []step{
		{`{"topic":"chat:wire:one","event":"phx_join","payload":{},"ref":"1"}`, []string{`{"topic":"chat:wire:one","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`}},
		{`{"topic":"chat:wire:one","event":"said","payload":{"text":"hi"},"ref":"2"}`, []string{
			`{"topic":"chat:wire:one","event":"said","payload":{"text":"hi"},"ref":null}`,
			`{"topic":"chat:wire:one","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"2"}`,
		}},
	}},
	{"joined again: the old channel ends with its phx_close, the new join is answered", []step{
		{`{"topic":"unruled","event":"phx_join","payload":{},"ref":"1","join_ref":"1"}`, []string{`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`}},
		{`{"topic":"unruled","event":"phx_join","payload":{},"ref":"2","join_ref":"2"}`, []string{
			`{"topic":"unruled","event":"phx_close","payload":{},"ref":"1"}`,
			`{"topic":"unruled","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"2"}`,
		}},
	}},
}

// TestWire speaks the protocol frame by frame.
func TestWire(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--config", config(t, rules+`- {match: "unruled"}`+"\n")).ready(t)
	for _, version := range []struct {
		name, alive, answer string
		lines               []struct {
			says  string
			steps []step
		}
	}{
		{"2.0.0", `[null,"end","phoenix","heartbeat",{}]`, `[null,"end","phoenix","phx_reply",{"status":"ok","response":{}}]`, versionTwo},
		{"1.0.0", `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"end"}`, `{"topic":"phoenix","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"end"}`, versionOne},
	} {
		for _, line := range version.lines {
			t.Run(version.name+" "+line.says, func(t *testing.T) {
				c := openRaw(t, s.public, version.name)
				for _, step := range append(line.steps, step{version.alive, []string{version.answer}}) {
					op := byte(opText)
					if step.send[0] == 0 {
						op = opBinary
					}
					c.write(t, frame(fin|op, step.send))
					for _, want := range step.answers {
						c.expectJSON(t, want)
					}
				}
			})
		}
	}

	t.Run("malformed message: closed with 1011", func(t *testing.T) {
		for _, malformed := range []struct {
			name, version string
			op            byte
			sends         string
		}{
			{"no JSON", "2.0.0", opText, `[null,"1","phoenix"`},
			{"two values", "2.0.0", opText, `[null,"1","phoenix","heartbeat",{}] []`},
			{"an object in version 2", "2.0.0", opText, `{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}`},
			{"a number", "2.0.0", opText, `7`},
			{"an empty array", "2.0.0", opText, `[]`},
			{"four elements", "2.0.0", opText, `[null,"1","phoenix","heartbeat"]`},
			{"a topic that is no string", "2.0.0", opText, `[null,"1",7,"heartbeat",{}]`},
			{"an event that is no string", "2.0.0", opText, `[null,"1","phoenix",null,{}]`},
			{"a ref that is an object", "2.0.0", opText, `[null,{},"phoenix","heartbeat",{}]`},
			{"a join_ref that is an array", "2.0.0", opText, `[[],"1","phoenix","heartbeat",{}]`},
			{"a binary frame of another kind", "2.0.0", opBinary, "\x03\x00\x00\x01\x01te"},
			{"a binary frame of the server's", "2.0.0", opBinary, "\x02\x01\x01te"},
			{"a binary frame that is cut in its lengths", "2.0.0", opBinary, "\x00\x00\x00\x01"},
			{"a binary frame that is cut in its fields", "2.0.0", opBinary, "\x00\x00\x00\x02\x01te"},
			{"an array in version 1", "1.0.0", opText, `[null,"1","phoenix","heartbeat",{}]`},
			{"no topic in version 1", "1.0.0", opText, `{"event":"heartbeat","payload":{},"ref":"1"}`},
			{"no event in version 1", "1.0.0", opText, `{"topic":"phoenix","payload":{},"ref":"1"}`},
			{"a binary frame in version 1", "1.0.0", opBinary, "\x00\x00\x00\x01\x01te"},
		} {
			t.Run(malformed.name, func(t *testing.T) {
				c := openRaw(t, s.public, malformed.version)
				c.write(t, frame(fin|malformed.op, malformed.sends))
				c.expectClose(t, 1011)
			})
		}
	})

	t.Run("binary broadcast: kind 2, topic, event, data", func(t *testing.T) {
		const topic = "chat:wire:bytes"
		var all []*raw
		for range 2 {
			c := openRaw(t, s.public, "2.0.0")
			c.text(t, `["1","1","`+topic+`","phx_join",{}]`)
			c.expectJSON(t, `["1","1","`+topic+`","phx_reply",{"status":"ok","response":{}}]`)
			all = append(all, c)
		}
		all[0].write(t, frame(fin|opBinary, "\x00\x01\x01\x0f\x05"+"12"+topic+"drawn"+"\x00\xff\xfe"))
		for _, c := range all {
			c.expect(t, opBinary, "\x02\x0f\x05"+topic+"drawn"+"\x00\xff\xfe")
		}
		all[0].expectJSON(t, `["1","2","`+topic+`","phx_reply",{"status":"ok","response":{}}]`)
	})

	t.Run("version 1 gets no bytes", func(t *testing.T) {
		const topic = "chat:wire:mixed"
		old, sender := openRaw(t, s.public, "1.0.0"), openRaw(t, s.public, "2.0.0")
		old.text(t, `{"topic":"`+topic+`","event":"phx_join","payload":{},"ref":"1"}`)
		old.expectJSON(t, `{"topic":"`+topic+`","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"1"}`)
		sender.text(t, `["1","1","`+topic+`","phx_join",{}]`)
		sender.expectJSON(t, `["1","1","`+topic+`","phx_reply",{"status":"ok","response":{}}]`)
		sender.write(t, frame(fin|opBinary, "\x00\x01\x01\x0f\x05"+"12"+topic+"drawn"+"\x00\xff\xfe"))
		sender.expect(t, opBinary, "\x02\x0f\x05"+topic+"drawn"+"\x00\xff\xfe")
		sender.expectJSON(t, `["1","2","`+topic+`","phx_reply",{"status":"ok","response":{}}]`)
		sender.text(t, `["1","3","`+topic+`","said",{}]`)
		old.expectJSON(t, `{"topic":"`+topic+`","event":"said","payload":{},"ref":null}`)
	})
}
