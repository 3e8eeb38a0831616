package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// rules are of every kind there is, for clients that bring no token.
const rules = `topics:
- {match: "denied:*", access: deny}
- {match: "chat:*", publish: broadcast}
- {match: "notes:*", access: public, publish: log}
- {match: "silent:*", publish: none}
- {match: "unruled:*"}
`

// config writes a configuration file.
func config(t testing.TB, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sluice.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A visitor is a stock client with all that its tests need.
type visitor struct {
	*phoenix
	flavour
	service *service
	door    *relay // which the client connects through
	own     string // what its topics end with
}

// TestConformance has every flavour of the stock client live through what the
// protocol promises it, on topics of its own. What no stock client sends, and
// what it does not show, is in TestWire, TestConnecting and TestLongPoll; what
// the service's own channels do not do, in TestApplication.
func TestConformance(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--config", config(t, rules)).ready(t)
	for i, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			door := newRelay(t).open(t, s.public)
			c := &visitor{phoenix: connect(t, door.address, f.args...), flavour: f, service: s, door: door, own: fmt.Sprint(i)}
			for _, line := range lines {
				t.Run(line.says, func(t *testing.T) { line.test(c, t) })
			}
		})
	}
}

// lines are what the protocol's document says, a test each. They run in turn
// on one client, and each leaves what it joined.
var lines = []struct {
	says string
	test func(c *visitor, t *testing.T)
}{
	{"heartbeat: answered ok; over long-poll the client sends none", (*visitor).heartbeat},
	{"phx_join: ok or error reply", (*visitor).joins},
	{"phx_leave: ok reply, then phx_close", (*visitor).leaves},
	{"an event for a topic not joined: unmatched topic", (*visitor).unmatched},
	{"joined again: the old channel ends, the new join is answered", (*visitor).joinsAgain},
	{"over the channel limit: too many channels joined", (*visitor).joinsTooMany},
	{"the stock client rejoins after a join error", (*visitor).rejoinsAfterRefusal},
	{"rules: publish none is forbidden", (*visitor).pushesNothing},
	{"rules: publish broadcast goes to all joined, sender included", (*visitor).pushesToAll},
	{"rules: publish log replies ok once durable", (*visitor).pushesToLog},
	{"join with after: events come with offset and data", (*visitor).numbered},
	{"join with after: broadcasts come without an offset, whatever is in them", (*visitor).envelopedBroadcasts},
	{"anything else than null or a non-negative integer: invalid after", (*visitor).invalidAfter},
	{"join with last: begins with so many of the topic's events, enveloped", (*visitor).last},
	{"the join reply carries offset, epoch, resumed", (*visitor).resumed},
	{"join params are evaluated again at each rejoin", (*visitor).comesBack},
}

// alone is a topic of one line's and flavour's own.
func (c *visitor) alone(prefix string) string { return prefix + ":" + c.own }

// leave leaves a topic, and waits until the server has seen to it.
func (c *visitor) leave(t *testing.T, topic string) {
	t.Helper()
	c.do(t, "leave", map[string]any{"topic": topic})
	for c.next(t, "left").Topic != topic {
	}
}

// expect waits for the client's next report of a kind on a topic, and compares
// it.
func (c *phoenix) expect(t *testing.T, what, topic, event, status, content string) {
	t.Helper()
	r := c.next(t, what)
	for r.Topic != topic {
		r = c.next(t, what) // of a topic that the client has not left in time
	}
	got := string(r.Response)
	if got == "" {
		got = string(r.Payload)
	}
	if r.Event != event || r.Status != status || got != content {
		t.Errorf("%s of %s: %q %q %s, want %q %q %s", what, topic, r.Event, r.Status, got, event, status, content)
	}
}

func (c *visitor) heartbeat(t *testing.T) {
	if c.polls {
		c.do(t, "raw", map[string]any{"message": map[string]any{"topic": "phoenix", "event": "heartbeat", "payload": map[string]any{}}})
	}
	beating, beats := c.phoenix, 1 // the one that it was made to send
	if !c.polls {
		// Of its own: where an answer is late it gives up its connection for another.
		beating, beats = connect(t, c.door.address, append(slices.Clone(c.args), `{"heartbeatIntervalMs":200}`)...), 3
	}
	for range beats {
		if beat := beating.frame(t, "phoenix", "phx_reply"); string(beat.Payload) != `{"status":"ok","response":{}}` {
			t.Errorf("a heartbeat is answered %s", beat.Payload)
		}
	}
}

func (c *visitor) joins(t *testing.T) {
	topic := c.alone("unruled")
	if got := string(c.join(t, topic, map[string]any{"name": "søren"})); got != `{}` {
		t.Errorf("a join is answered %s", got)
	}
	c.leave(t, topic)
	for _, prefix := range []string{"denied", "secret", "ruleless"} {
		topic := c.alone(prefix)
		c.do(t, "join", map[string]any{"topic": topic})
		c.expect(t, "refused", topic, "", "", `{"reason":"unauthorized"}`)
		c.leave(t, topic)
	}
}

func (c *visitor) leaves(t *testing.T) {
	topic := c.alone("unruled:left")
	c.join(t, topic, nil)
	c.do(t, "leave", map[string]any{"topic": topic})
	c.expect(t, "left", topic, "", "", `{}`)
	c.frame(t, topic, "phx_close")
}

func (c *visitor) unmatched(t *testing.T) {
	topic := c.alone("never:joined")
	c.do(t, "raw", map[string]any{"message": map[string]any{"topic": topic, "event": "hello", "payload": map[string]any{}}})
	reply := c.frame(t, topic, "phx_reply")
	if want := `{"status":"error","response":{"reason":"unmatched topic"}}`; string(reply.Payload) != want {
		t.Errorf("answered %s, want %s", reply.Payload, want)
	}
}

// joinsAgain joins a topic a second time, upon which the stock client leaves
// it first. What is sent then comes once.
func (c *visitor) joinsAgain(t *testing.T) {
	topic := c.alone("chat:twice")
	c.join(t, topic, nil)
	c.join(t, topic, nil)
	for c.next(t, "closed").Topic != topic {
	}
	for i := range 2 {
		payload := fmt.Sprintf(`{"n":%d}`, i)
		c.do(t, "push", map[string]any{"topic": topic, "event": "said", "payload": json.RawMessage(payload)})
		c.expect(t, "message", topic, "said", "", payload)
		c.expect(t, "reply", topic, "said", "ok", `{}`)
	}
	c.leave(t, topic)
}

func (c *visitor) joinsTooMany(t *testing.T) {
	const limit = 100
	topic := func(n int) string { return fmt.Sprintf("%s:%d", c.alone("unruled:many"), n) }
	for n := range limit {
		c.join(t, topic(n), nil)
	}
	c.do(t, "join", map[string]any{"topic": topic(limit)})
	c.expect(t, "refused", topic(limit), "", "", `{"reason":"too many channels joined"}`)
	c.leave(t, topic(0)) // and the client, which tries again, is let in
	for c.next(t, "joined").Topic != topic(limit) {
	}
	for n := 1; n <= limit; n++ {
		c.leave(t, topic(n))
	}
}

func (c *visitor) rejoinsAfterRefusal(t *testing.T) {
	topic := c.alone("denied:again")
	c.do(t, "join", map[string]any{"topic": topic})
	for tries := 0; tries < 3; {
		if c.next(t, "refused").Topic == topic {
			tries++
		}
	}
	c.leave(t, topic)
}

func (c *visitor) pushesNothing(t *testing.T) {
	for _, prefix := range []string{"silent", "unruled:push"} {
		topic := c.alone(prefix)
		c.join(t, topic, nil)
		c.do(t, "push", map[string]any{"topic": topic, "event": "said", "payload": map[string]any{}})
		c.expect(t, "reply", topic, "said", "error", `{"reason":"forbidden"}`)
		c.leave(t, topic)
	}
}

func (c *visitor) pushesToAll(t *testing.T) {
	topic := c.alone("chat")
	c.join(t, topic, nil)
	other, err := subscribe(t.Context(), c.service.public, topic, false)
	if err != nil {
		t.Fatal(err)
	}
	defer other.conn.Close()
	const payload = `{"text":"grüße 🌍"}`
	c.do(t, "push", map[string]any{"topic": topic, "event": "said", "payload": json.RawMessage(payload)})
	c.expect(t, "message", topic, "said", "", payload)
	c.expect(t, "reply", topic, "said", "ok", `{}`)
	if event, got, err := other.read(); err != nil || event != "said" || string(got) != payload {
		t.Errorf("another client got %s %s: %v", event, got, err)
	}
	if c.binary && !c.polls {
		c.do(t, "push", map[string]any{"topic": topic, "event": "drawn", "payload": map[string]any{"bytes": "AAH/"}})
		c.expect(t, "message", topic, "drawn", "", `{"bytes":"AAH/"}`)
		c.expect(t, "reply", topic, "drawn", "ok", `{}`)
	}
	c.leave(t, topic)
}

func (c *visitor) pushesToLog(t *testing.T) {
	topic := c.alone("notes")
	c.join(t, topic, nil)
	c.do(t, "push", map[string]any{"topic": topic, "event": "taken", "payload": map[string]any{"id": 1}})
	c.expect(t, "reply", topic, "taken", "ok", `{}`)
	c.expect(t, "message", topic, "taken", "", `{"id":1}`)
	if c.binary { // which the log does not hold, but a text reply says so
		c.do(t, "push", map[string]any{"topic": topic, "event": "drawn", "payload": map[string]any{"bytes": "AAH/"}})
		if reply := c.next(t, "reply"); reply.Event != "drawn" || reply.Status != "error" {
			t.Errorf("bytes for the log are answered %s %s", reply.Status, reply.Response)
		}
	}
	c.leave(t, topic)
}

// A joined is the response to a join with after.
type joined struct {
	Offset  *int64
	Epoch   string
	Resumed *bool
}

// joinAfter joins with after, and epoch if it is not empty.
func (c *visitor) joinAfter(t *testing.T, topic string, after any, epoch string) joined {
	t.Helper()
	params := map[string]any{"after": after}
	if epoch != "" {
		params["epoch"] = epoch
	}
	reply := c.join(t, topic, params)
	var at joined
	if err := json.Unmarshal(reply, &at); err != nil || at.Offset == nil || at.Epoch == "" || at.Resumed == nil {
		t.Fatalf("a join after %v is answered %s: %v", after, reply, err)
	}
	return at
}

// publish appends events to the log, by the API.
func (s *service) publish(t testing.TB, path, topic string, payloads ...string) {
	t.Helper()
	var body string
	for _, payload := range payloads {
		body += fmt.Sprintf(`{"topic":%q,"event":"created","payload":%s}`+"\n", topic, payload)
	}
	if status, answer := s.post(t, path, "application/x-ndjson", body); status != 202 {
		t.Fatalf("publish: %d %s", status, answer)
	}
}

// event reads a message that carries its offset.
func (c *visitor) event(t *testing.T, topic string) (offset int64, data string) {
	t.Helper()
	got := c.next(t, "message")
	var envelope struct {
		Offset *int64
		Data   json.RawMessage
	}
	if err := json.Unmarshal(got.Payload, &envelope); err != nil || got.Topic != topic || envelope.Offset == nil {
		t.Fatalf("no event of %s with its offset: %s %s (%v)", topic, got.Topic, got.Payload, err)
	}
	return *envelope.Offset, string(envelope.Data)
}

func (c *visitor) numbered(t *testing.T) {
	topic := c.alone("unruled:numbered")
	last := *c.joinAfter(t, topic, nil, "").Offset
	c.service.publish(t, "/api/events", topic, `{"id":1}`, `{"id":2}`, `{"nested":{"data":[1,{}]}}`)
	for _, want := range []string{`{"id":1}`, `{"id":2}`, `{"nested":{"data":[1,{}]}}`} {
		offset, data := c.event(t, topic)
		if offset <= last || data != want {
			t.Errorf("after offset %d came %d with %s, want %s", last, offset, data, want)
		}
		last = offset
	}
	c.leave(t, topic)
}

func (c *visitor) envelopedBroadcasts(t *testing.T) {
	topic := c.alone("unruled:broadcast")
	c.joinAfter(t, topic, nil, "")
	for _, payload := range []string{`{"id":1}`, `{"offset":9007199254740991,"data":{}}`, `{"data":1}`, `{}`} {
		c.service.publish(t, "/api/broadcast", topic, payload)
		c.expect(t, "message", topic, "created", "", `{"data":`+payload+`}`)
	}
	c.leave(t, topic)
}

func (c *visitor) invalidAfter(t *testing.T) {
	topic := c.alone("unruled:invalid")
	for _, after := range []any{"yesterday", "7.5", -1, 1.5, true, []int{}, map[string]int{}} {
		c.do(t, "join", map[string]any{"topic": topic, "params": map[string]any{"after": after}})
		c.expect(t, "refused", topic, "", "", `{"reason":"invalid after"}`)
		c.leave(t, topic)
	}
}

// last joins with the number of events to begin with, also once its position is of no
// use.
func (c *visitor) last(t *testing.T) {
	topic := c.alone("unruled:last")
	c.service.publish(t, "/api/events", topic, `{"id":1}`, `{"id":2}`, `{"id":3}`, `{"id":4}`)
	for _, test := range []struct {
		params  map[string]any
		first   int
		resumed bool
	}{
		{map[string]any{"last": 3}, 2, true},
		{map[string]any{"last": "1", "after": nil}, 4, true},
		{map[string]any{"last": 9.0, "after": int64(1) << 60}, 1, false},
		{map[string]any{"last": 2, "after": 0, "epoch": "another"}, 3, false},
	} {
		var at joined
		if err := json.Unmarshal(c.join(t, topic, test.params), &at); err != nil || *at.Resumed != test.resumed {
			t.Errorf("a join with %v is answered %+v, %v", test.params, at, err)
		}
		for id := test.first; id <= 4; id++ {
			offset, data := c.event(t, topic)
			if id == test.first && offset <= *at.Offset || data != fmt.Sprintf(`{"id":%d}`, id) {
				t.Errorf("a join with %v after %d has %s at %d, want %d", test.params, *at.Offset, data, offset, id)
			}
		}
		c.leave(t, topic)
	}
	c.do(t, "join", map[string]any{"topic": topic, "params": map[string]any{"last": -1}})
	c.expect(t, "refused", topic, "", "", `{"reason":"invalid last"}`)
	c.leave(t, topic)
}

// resumed joins from where it is. The other flavours write to the log
// meanwhile, so the head may have moved on by the time of the second join.
func (c *visitor) resumed(t *testing.T) {
	topic := c.alone("unruled:resumed")
	at := c.joinAfter(t, topic, nil, "")
	if !*at.Resumed {
		t.Error("from now on is not resumed")
	}
	c.leave(t, topic)
	for _, epoch := range []string{"", at.Epoch} {
		again := c.joinAfter(t, topic, *at.Offset, epoch)
		if again.Epoch != at.Epoch || *again.Offset < *at.Offset {
			t.Errorf("the log was %s at %d and is %s at %d", at.Epoch, *at.Offset, again.Epoch, *again.Offset)
		}
		if *again.Offset == *at.Offset && !*again.Resumed {
			t.Error("a client that has everything is told to reload")
		}
		c.leave(t, topic)
	}
	for name, stray := range map[string]joined{
		"beyond the head":     c.joinAfter(t, topic, *at.Offset+1_000_000, at.Epoch),
		"of another log":      c.joinAfter(t, topic, *at.Offset, "another"),
		"of another, at zero": c.joinAfter(t, topic, 0, "another"),
	} {
		if *stray.Resumed || stray.Epoch != at.Epoch {
			t.Errorf("an offset %s is answered as resumed in %s", name, stray.Epoch)
		}
	}
	c.leave(t, topic)
}

// comesBack loses its connection, and joins again from where it was.
func (c *visitor) comesBack(t *testing.T) {
	bare, numbered := c.alone("unruled:back:bare"), c.alone("unruled:back:numbered")
	c.join(t, bare, nil)
	c.joinAfter(t, numbered, nil, "")
	c.service.publish(t, "/api/events", numbered, `{"id":1}`)
	last, _ := c.event(t, numbered)

	c.door.point("")
	c.door.cut()
	c.next(t, "close")
	c.door.point(c.service.public)
	c.next(t, "open")
	again := []report{c.next(t, "joined"), c.next(t, "joined")}
	at := slices.IndexFunc(again, func(r report) bool { return r.Topic == numbered })
	if at < 0 {
		t.Fatalf("joined again: %v", again)
	}
	var response joined
	if err := json.Unmarshal(again[at].Response, &response); err != nil || *response.Offset < last {
		t.Errorf("joined again after %d with %s", last, again[at].Response)
	}
	c.service.publish(t, "/api/events", numbered, `{"id":2}`)
	if offset, data := c.event(t, numbered); offset <= last || data != `{"id":2}` {
		t.Errorf("after offset %d came %d with %s", last, offset, data)
	}
	c.service.publish(t, "/api/events", bare, `{"id":3}`) // not before: topics are in no order to each other
	c.expect(t, "message", bare, "created", "", `{"id":3}`)
	c.leave(t, bare)
	c.leave(t, numbered)
}
