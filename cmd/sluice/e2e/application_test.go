package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// TestApplication has every flavour of the stock client meet channels that an
// application wrote (internal/application), for what the service's own channels
// never do.
func TestApplication(t *testing.T) {
	t.Parallel()
	s := runs(t, application, t.TempDir()).ready(t)
	for i, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := &visitor{phoenix: connect(t, s.public, f.args...), flavour: f, service: s, own: fmt.Sprint(i)}
			for _, line := range roomLines {
				t.Run(line.says, func(t *testing.T) { line.test(c, t) })
			}
		})
	}
}

// roomLines go on from where lines leave off.
var roomLines = []struct {
	says string
	test func(c *visitor, t *testing.T)
}{
	{"phx_join: ok or error reply, of the channel's own", (*visitor).joinsRoom},
	{"a crash in join: error join crashed", (*visitor).joinCrashes},
	{"reply: status ok or error, response", (*visitor).replies},
	{"push from server; broadcast", (*visitor).isPushedTo},
	{"state that no other channel sees", (*visitor).keepsState},
	{"reply later, in another order", (*visitor).repliesLater},
	{"a channel whose inbound queue is full answers overloaded", (*visitor).overloads},
	{"handler crashed: phx_error, and the stock client rejoins", (*visitor).crashes},
	{"stopped normally: phx_close, and the stock client does not rejoin", (*visitor).stops},
	{"binary: client push, reply, server push, broadcast", (*visitor).speaksBinary},
}

// TestConnectHook tells an application what clients say in connecting, and them
// what it says.
func TestConnectHook(t *testing.T) {
	t.Parallel()
	s := runs(t, application, t.TempDir()).ready(t)
	for _, f := range flavours {
		t.Run("params nested, token apart from params: "+f.name, func(t *testing.T) {
			const token = "?>~ of bytes that the alphabets differ in"
			options, err := json.Marshal(map[string]any{
				"authToken": token,
				"params":    map[string]any{"token": "the application's", "a": map[string]any{"b": "c & ü", "d": []string{"e"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			c := connect(t, s.public, append(slices.Clone(f.args), string(options))...)
			c.join(t, "room:hook", nil)
			c.do(t, "push", map[string]any{"topic": "room:hook", "event": "recall", "payload": map[string]any{}})
			var recalled struct {
				Params struct {
					Token string
					A     struct {
						B string
						D map[string]string
					}
				}
				Token string
			}
			r := c.next(t, "reply")
			if err := json.Unmarshal(r.Response, &recalled); err != nil {
				t.Fatalf("%s: %v", r.Response, err)
			}
			params := recalled.Params
			if params.Token != "the application's" || params.A.B != "c & ü" || params.A.D["0"] != "e" {
				t.Errorf("the hook got %s", r.Response)
			}
			if f.args[0] == "phoenix18" && recalled.Token != token { // 1.7 knows none
				t.Errorf("the hook got the token %q", recalled.Token)
			}
		})
	}

	t.Run("token by subprotocol, in either alphabet of base64", func(t *testing.T) {
		const token = "???>>>~~~\x00ü"
		for name, encoding := range map[string]*base64.Encoding{"standard": base64.RawStdEncoding, "URL": base64.RawURLEncoding, "padded": base64.StdEncoding} {
			c := dialRaw(t, s.public)
			response := c.upgrade(t, "/socket/websocket?vsn=2.0.0", map[string]string{
				"Sec-WebSocket-Protocol": "phoenix, base64url.bearer.phx." + encoding.EncodeToString([]byte(token))})
			if got := response.Header.Get("Sec-Websocket-Protocol"); got != "phoenix" {
				t.Fatalf("%s: answered %s with subprotocol %q", name, response.Status, got)
			}
			c.text(t, `["1","1","room:token","phx_join",{}]`)
			c.expectJSON(t, `["1","1","room:token","phx_reply",{"status":"ok","response":{}}]`)
			c.text(t, `["1","2","room:token","recall",{}]`)
			c.expectJSON(t, `["1","2","room:token","phx_reply",{"status":"ok","response":{"params":{"vsn":"2.0.0"},"token":"???>>>~~~\u0000ü"}}]`)
		}
	})

	t.Run("connect refused: the status that the connect hook gives", func(t *testing.T) {
		if response := dialRaw(t, s.public).upgrade(t, "/full/websocket?vsn=2.0.0", nil); response.StatusCode != http.StatusTooManyRequests {
			t.Errorf("answered %s", response.Status)
		}
		if answer := get(t, s.public, "/full/longpoll?vsn=2.0.0", nil); answer.Status != 403 {
			t.Errorf("a poll is answered %d", answer.Status)
		}
	})
}

// room joins a room of one line's and flavour's own.
func (c *visitor) room(t *testing.T, name string) (topic string) {
	t.Helper()
	topic = c.alone("room:" + name)
	c.join(t, topic, nil)
	return topic
}

// push pushes an event, whose payload is in JSON.
func (c *visitor) push(t *testing.T, topic, event, payload string) {
	t.Helper()
	c.do(t, "push", map[string]any{"topic": topic, "event": event, "payload": json.RawMessage(payload)})
}

func (c *visitor) joinsRoom(t *testing.T) {
	topic := c.alone("room:door")
	if got := string(c.join(t, topic, map[string]any{"welcome": map[string]any{"seats": []int{1, 2}}})); got != `{"seats":[1,2]}` {
		t.Errorf("a join is answered %s", got)
	}
	c.leave(t, topic)
	c.do(t, "join", map[string]any{"topic": topic, "params": map[string]any{"reject": "full"}})
	c.expect(t, "refused", topic, "", "", `{"reason":"full"}`)
	c.leave(t, topic)
}

func (c *visitor) joinCrashes(t *testing.T) {
	topic := c.alone("room:crash")
	for _, how := range []string{"panic", "fail"} {
		c.do(t, "join", map[string]any{"topic": topic, "params": map[string]any{how: true}})
		c.expect(t, "refused", topic, "", "", `{"reason":"join crashed"}`)
		c.leave(t, topic)
	}
}

func (c *visitor) replies(t *testing.T) {
	topic := c.room(t, "replies")
	for _, payload := range []string{`{"text":"grüße 🌍 \u2028"}`, `{}`, `{"nested":[{"null":null},1.5,""]}`} {
		c.push(t, topic, "echo", payload)
		r := c.next(t, "reply")
		if r.Status != "ok" || plain(t, string(r.Response)) != plain(t, payload) {
			t.Errorf("%s comes back %s as %s", payload, r.Status, r.Response)
		}
	}
	c.push(t, topic, "complain", `{"reason":"too loud"}`)
	c.expect(t, "reply", topic, "complain", "error", `{"reason":"too loud"}`)
	c.leave(t, topic)
}

func (c *visitor) isPushedTo(t *testing.T) {
	topic := c.room(t, "pushes")
	for event, pushed := range map[string]string{"push": "pushed", "broadcast": "broadcast"} {
		c.push(t, topic, event, `{"id":1}`)
		c.expect(t, "message", topic, pushed, "", `{"id":1}`)
		c.expect(t, "reply", topic, event, "ok", `{}`)
	}
	// To all others, of whom there are none: what comes next is the next.
	c.push(t, topic, "broadcast_from", `{"id":2}`)
	c.expect(t, "reply", topic, "broadcast_from", "ok", `{}`)
	c.push(t, topic, "push", `{"id":3}`)
	c.expect(t, "message", topic, "pushed", "", `{"id":3}`)
	c.expect(t, "reply", topic, "push", "ok", `{}`)
	c.leave(t, topic)
}

func (c *visitor) keepsState(t *testing.T) {
	one, other := c.room(t, "state:one"), c.room(t, "state:other")
	for n := 1; n <= 3; n++ {
		c.push(t, one, "count", `{}`)
		c.expect(t, "reply", one, "count", "ok", fmt.Sprintf(`{"said":%d}`, n))
	}
	c.push(t, other, "count", `{}`)
	c.expect(t, "reply", other, "count", "ok", `{"said":1}`)
	c.leave(t, one)
	c.leave(t, other)
}

func (c *visitor) repliesLater(t *testing.T) {
	topic := c.room(t, "later")
	gate := fmt.Sprintf(`{"gate":%q}`, topic)
	c.push(t, topic, "later", gate)
	c.push(t, topic, "echo", `{}`)
	c.expect(t, "reply", topic, "echo", "ok", `{}`)
	c.push(t, topic, "open", gate)
	seen := map[string]string{}
	for range 2 {
		r := c.next(t, "reply")
		seen[r.Event] = r.Status + " " + string(r.Response)
	}
	if seen["open"] != "ok {}" || seen["later"] != "ok "+gate {
		t.Errorf("answered %v", seen)
	}
	c.leave(t, topic)
}

// overloads fills a channel's queue: it handles one event that takes its time,
// and the others wait. Channels beside it, and the heartbeat, do not.
func (c *visitor) overloads(t *testing.T) {
	busy, idle := c.room(t, "busy"), c.room(t, "idle")
	gate := fmt.Sprintf(`{"gate":%q}`, busy)
	c.push(t, busy, "wait", gate)
	c.expect(t, "message", busy, "waiting", "", `{}`) // requests of a client that polls may overtake each other
	const many = 200
	for range many {
		c.push(t, busy, "count", `{}`)
	}
	c.expect(t, "reply", busy, "count", "error", `{"reason":"overloaded"}`)
	c.push(t, idle, "echo", `{"id":1}`)
	c.expect(t, "reply", idle, "echo", "ok", `{"id":1}`)
	if !c.polls {
		c.do(t, "raw", map[string]any{"message": map[string]any{"topic": "phoenix", "event": "heartbeat", "payload": map[string]any{}}})
		c.frame(t, "phoenix", "phx_reply")
	}
	c.push(t, idle, "open", gate)
	c.expect(t, "reply", idle, "open", "ok", `{}`)
	c.leave(t, busy) // which a client can always do; its turn comes after what waited
	c.leave(t, idle)
}

func (c *visitor) crashes(t *testing.T) {
	topic, beside := c.room(t, "crashes"), c.room(t, "crashes:beside")
	for _, how := range []string{"panic", "fall"} {
		c.push(t, topic, how, `{}`)
		c.expect(t, "errored", topic, "", "", `{"reason":"channel_crash"}`)
		c.expect(t, "joined", topic, "", "", `{}`)
		c.push(t, topic, "count", `{}`) // the state is gone, and the channel is new
		c.expect(t, "reply", topic, "count", "ok", `{"said":1}`)
	}
	c.push(t, beside, "echo", `{}`)
	c.expect(t, "reply", beside, "echo", "ok", `{}`)
	c.leave(t, topic)
	c.leave(t, beside)
}

// stops ends channels from within. Had the client joined again, its leaving of
// the last one would not find the joins where they should be.
func (c *visitor) stops(t *testing.T) {
	topic := c.room(t, "stops")
	c.push(t, topic, "stop", `{}`)
	for c.next(t, "closed").Topic != topic {
	}
	answered := c.room(t, "stops:answered")
	c.push(t, answered, "answer_and_stop", `{"last":"word"}`)
	c.expect(t, "reply", answered, "answer_and_stop", "ok", `{"last":"word"}`)
	for c.next(t, "closed").Topic != answered {
	}
	c.do(t, "raw", map[string]any{"message": map[string]any{"topic": topic, "event": "echo", "payload": map[string]any{}}})
	if reply := c.frame(t, topic, "phx_reply"); string(reply.Payload) != `{"status":"error","response":{"reason":"unmatched topic"}}` {
		t.Errorf("where a channel was, answers %s", reply.Payload)
	}
}

func (c *visitor) speaksBinary(t *testing.T) {
	if !c.binary {
		return // version 1 has no binary messages: see TestWire
	}
	topic := c.room(t, "binary")
	const bytes = `{"bytes":"AAH+/w=="}`
	if c.polls { // it sends bytes, and is sent text alone
		c.push(t, topic, "push", bytes)
		if r := c.next(t, "reply"); r.Event != "push" || r.Status != "error" {
			t.Errorf("bytes for a client that cannot have them are answered %s %s", r.Status, r.Response)
		}
	} else {
		c.push(t, topic, "echo", bytes)
		c.expect(t, "reply", topic, "echo", "ok", bytes)
		c.push(t, topic, "complain", bytes)
		c.expect(t, "reply", topic, "complain", "error", bytes)
		for event, pushed := range map[string]string{"push": "pushed", "broadcast": "broadcast"} {
			c.push(t, topic, event, bytes)
			c.expect(t, "message", topic, pushed, "", bytes)
			c.expect(t, "reply", topic, event, "ok", `{}`)
		}
	}
	c.leave(t, topic)
}

// roomFrames are the messages of an application's channels, frame by frame.
var roomFrames = []struct {
	says    string
	send    string
	answers []string // binary ones begin with their kind, below a space
}{
	{"push from server: ref null, join_ref set",
		`["j","1","room:frames","push",{"id":1}]`, []string{
			`["j",null,"room:frames","pushed",{"id":1}]`,
			`["j","1","room:frames","phx_reply",{"status":"ok","response":{}}]`}},
	{"reply later, to the ref that asked",
		`["j",2,"room:frames","later",{"gate":"open"}]`, []string{
			`["j",2,"room:frames","phx_reply",{"status":"ok","response":{"gate":"open"}}]`}},
	{"reply in binary",
		"\x00\x01\x01\x0b\x04" + "j3room:framesecho" + "\x00\xff", []string{
			"\x01\x01\x01\x0b\x02" + "j3room:framesok" + "\x00\xff"}},
	{"error reply in binary",
		"\x00\x01\x01\x0b\x08" + "j4room:framescomplain" + "\x00\xff", []string{
			"\x01\x01\x01\x0b\x05" + "j4room:frameserror" + "\x00\xff"}},
	{"server push in binary, which has no ref",
		"\x00\x01\x01\x0b\x04" + "j5room:framespush" + "\x00\xff", []string{
			"\x00\x01\x0b\x06" + "jroom:framespushed" + "\x00\xff",
			`["j","5","room:frames","phx_reply",{"status":"ok","response":{}}]`}},
	{"broadcast in binary",
		"\x00\x01\x01\x0b\x09" + "j6room:framesbroadcast" + "\x00\xff", []string{
			"\x02\x0b\x09" + "room:framesbroadcast" + "\x00\xff",
			`["j","6","room:frames","phx_reply",{"status":"ok","response":{}}]`}},
	{"empty data in binary",
		"\x00\x01\x01\x0b\x04" + "j7room:framesecho", []string{
			"\x01\x01\x01\x0b\x02" + "j7room:framesok"}},
	{"no reply",
		`["j","8","room:frames","nothing",{}]`, nil},
	{"handler crashed: phx_error, ref and join_ref both the join_ref",
		`["j","9","room:frames","panic",{}]`, []string{
			`["j","j","room:frames","phx_error",{"reason":"channel_crash"}]`}},
	{"joined again after a crash",
		`[10,"10","room:frames","phx_join",{}]`, []string{
			`[10,"10","room:frames","phx_reply",{"status":"ok","response":{}}]`}},
	{"stopped normally: phx_close",
		`[10,"11","room:frames","stop",{}]`, []string{
			`[10,10,"room:frames","phx_close",{}]`}},
}

// TestApplicationFrames looks at what TestApplication's client does not show.
func TestApplicationFrames(t *testing.T) {
	t.Parallel()
	s := runs(t, application, t.TempDir()).ready(t)
	c := openRaw(t, s.public, "2.0.0")
	c.text(t, `["opener","1","room:opener","phx_join",{}]`)
	c.expectJSON(t, `["opener","1","room:opener","phx_reply",{"status":"ok","response":{}}]`)
	c.text(t, `["opener","2","room:opener","open",{"gate":"open"}]`)
	c.expectJSON(t, `["opener","2","room:opener","phx_reply",{"status":"ok","response":{}}]`)
	c.text(t, `["j","0","room:frames","phx_join",{}]`)
	c.expectJSON(t, `["j","0","room:frames","phx_reply",{"status":"ok","response":{}}]`)
	for _, line := range roomFrames {
		t.Run(line.says, func(t *testing.T) {
			op := byte(opText)
			if line.send[0] == 0 {
				op = opBinary
			}
			c.write(t, frame(fin|op, line.send))
			for _, want := range line.answers {
				if want[0] < ' ' {
					c.expect(t, opBinary, want)
				} else {
					c.expectJSON(t, want)
				}
			}
		})
	}
	c.alive(t)
}
