package socket

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestSessionAtRandom lets clients do anything in any order, and checks what
// must hold whatever they do.
func TestSessionAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(150) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func chaos(t *testing.T, random *rand.Rand) {
	r := newRig(t, func(c *Config) { c.Options.MailboxSize = 10000 })
	c := r.connect(phoenix.Version2)
	var got []string
	read := make(chan struct{}) // closed when the connection has ended
	go func() {
		defer close(read)
		for next := c.next(); next != "end"; next = c.next() {
			got = append(got, next)
		}
	}()
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	joinRefs := map[string]string{"room:a": "0", "room:b": "0"}
	asked := make(map[string]string) // event by ref
	for ref := range 80 {
		topic := pick("room:a", "room:b")
		event := pick("phx_join", "phx_leave", "echo", "push", "stop", "panic", "broadcast", "silent", "log", "log", "settle")
		switch event {
		case "settle":
			synctest.Wait()
			continue
		case "log":
			r.log(topic, "created", `1`)
			continue
		}
		payload, joinRef := `{}`, joinRefs[topic]
		if event == "phx_join" {
			joinRef = fmt.Sprint(ref)
			joinRefs[topic] = joinRef
			payload = pick(`{"after":null}`, `{"after":null}`, `{"after":null,"do":"reject"}`, `{"after":null,"do":"panic"}`)
		}
		asked[fmt.Sprint(ref)] = event
		c.text(fmt.Sprintf(`["%s","%d",%q,%q,%s]`, joinRef, ref, topic, event, payload))
	}
	synctest.Wait()
	c.conn.shut(disconnected, "")
	<-read
	synctest.Wait()
	check(t, got, asked)
	if r.hub.Channels() != 0 || r.endpoint.Sockets() != 0 {
		t.Fatalf("%d channels and %d sockets left", r.hub.Channels(), r.endpoint.Sockets())
	}
}

// check goes through all that a client has received.
func check(t *testing.T, got []string, asked map[string]string) {
	t.Helper()
	answers := make(map[string]int)
	over := make(map[string]bool)     // joins that have ended
	offsets := make(map[string]int64) // by topic, since the last join
	joined := make(map[string]bool)   // topics
	for _, line := range got {
		var frame [5]json.RawMessage
		if json.Unmarshal([]byte(line), &frame) != nil {
			continue // the close frame
		}
		var joinRef, ref, topic, event string
		for i, s := range []*string{&joinRef, &ref, &topic, &event} {
			_ = json.Unmarshal(frame[i], s)
		}
		if over[joinRef] && asked[ref] != "phx_leave" {
			t.Errorf("after the end of join %s: %s", joinRef, line)
		}
		var body struct {
			Status   string
			Offset   int64
			Response struct{ Offset int64 }
		}
		_ = json.Unmarshal(frame[4], &body)
		switch event {
		case "phx_reply":
			answers[ref]++
			if asked[ref] == "phx_join" && body.Status == "ok" {
				offsets[topic], joined[topic] = body.Response.Offset, true
			}
		case "phx_close", "phx_error":
			if ref != joinRef {
				t.Errorf("ref and join_ref differ: %s", line)
			}
			over[joinRef], joined[topic] = true, false
		case "created":
			switch {
			case !joined[topic]:
				t.Errorf("not joined: %s", line)
			case body.Offset <= offsets[topic]:
				t.Errorf("after offset %d: %s", offsets[topic], line)
			}
			offsets[topic] = body.Offset
		}
	}
	for ref, event := range asked {
		if n := answers[ref]; n > 1 || (n == 0 && event == "phx_join") {
			// A join that has been replaced before it was handled is closed instead.
			if n > 1 || !over[ref] {
				t.Errorf("%s with ref %s was answered %d times", event, ref, n)
			}
		}
	}
}

// What is queued for a channel when its client leaves is sent before the answer.
func TestLeaveComesLast(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		c := r.connect(phoenix.Version2)
		c.join("room:a", `{}`)
		for i := range 20 {
			r.log("room:a", "created", fmt.Sprint(i))
		}
		go c.text(`["1","2","room:a","phx_leave",{}]`)
		for i := range 20 {
			c.want(fmt.Sprintf(`[null,null,"room:a","created",%d]`, i))
		}
		c.want(`["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`, `["1","1","room:a","phx_close",{}]`)
	})
}

var _ channels.Subscriber = (*channels.Actor)(nil)
