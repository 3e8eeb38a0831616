package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// publishing are rules by which clients publish.
const publishing = `
topics:
  - {match: "realtime:*", publish: broadcast}
  - {match: "chat:*", publish: broadcast}
  - {match: "log:*", publish: log}
`

func servePublishing(t testing.TB) *service {
	t.Helper()
	folder := t.TempDir()
	config := filepath.Join(folder, "sluice.yaml")
	if err := os.WriteFile(config, []byte(publishing), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, "--config", config, "--data-dir", filepath.Join(folder, "data")).ready(t)
}

// answered waits for the answers to a pushMany, counted.
func (c *phoenix) answered(t testing.TB) string {
	t.Helper()
	return string(c.next(t, "answered").Response)
}

// TestManyChannelsPushAtOnce joins 60 channels, each of which pushes three times once it is
// joined: over long-polls some clients send all of that in one request, and some in 180.
func TestManyChannelsPushAtOnce(t *testing.T) {
	t.Parallel()
	s := servePublishing(t)
	for i, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, s.public, f.args...)
			var topics []string
			for n := range 60 {
				topics = append(topics, fmt.Sprintf("chat:%d:%d", i, n))
				c.do(t, "join", map[string]any{"topic": topics[n], "params": map[string]any{}})
			}
			c.do(t, "pushMany", map[string]any{"topics": topics, "event": "said", "count": 3})
			if got := c.answered(t); got != `{"ok":180}` {
				t.Errorf("the pushes are answered %s", got)
			}
			for _, line := range strings.Split(c.stdout.text(), "\n") {
				if kind := c.kindOf(line); kind == "close" || kind == "errored" || kind == "refused" {
					t.Error(line)
				}
			}
		})
	}
}

// TestPushesMadeWhileAway keeps a thousand pushes while there is no connection. They are flushed
// when the channel has joined again, and all of them get into the log; in order, where the client
// sends them in order.
func TestPushesMadeWhileAway(t *testing.T) {
	t.Parallel()
	const pushes = 1000
	s := servePublishing(t)
	for i, f := range flavours {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			topic := fmt.Sprintf("log:%d", i)
			reader := connect(t, s.public, "phoenix18")
			reader.join(t, topic, map[string]any{"after": nil})

			door := newRelay(t).open(t, s.public)
			c := connect(t, door.address, f.args...)
			c.join(t, topic, nil)
			door.point("")
			door.cut()
			c.next(t, "close")
			c.do(t, "pushMany", map[string]any{"topics": []string{topic}, "event": "said", "count": pushes})
			door.point(s.public)
			if got, want := c.answered(t), fmt.Sprintf(`{"ok":%d}`, pushes); got != want {
				t.Errorf("the pushes are answered %s, want %s", got, want)
			}
			seen := make(map[int]bool)
			for n := range pushes {
				var payload struct{ Data struct{ N int } }
				got := reader.next(t, "message").Payload
				if err := json.Unmarshal(got, &payload); err != nil {
					t.Fatalf("%s: %v", got, err)
				}
				if inOrder := f.args[0] != "phoenix16" || !f.polls; inOrder && payload.Data.N != n || seen[payload.Data.N] {
					t.Fatalf("event %d is %s", n, got)
				}
				seen[payload.Data.N] = true
			}
		})
	}
}

// TestRealtimeClient has supabase's client broadcast, to one of its own kind and to the stock
// client, and bring a token, which nobody else sees.
func TestRealtimeClient(t *testing.T) {
	t.Parallel()
	s := servePublishing(t)
	stock := connect(t, s.public, "phoenix18")
	stock.join(t, "realtime:room", nil)
	var clients []*phoenix
	for range 2 {
		c := alone(start(t, "node", "node/realtime.mjs", mount(s.public)))
		c.do(t, "join", map[string]any{"topic": "room"})
		if got := c.next(t, "joined", "refused"); got.What != "joined" {
			t.Fatalf("not joined: %+v", got)
		}
		clients = append(clients, c)
	}
	say := func(n int) {
		t.Helper()
		clients[0].do(t, "push", map[string]any{"topic": "room", "event": "said", "payload": map[string]any{"n": n}})
		if got := clients[0].next(t, "reply"); got.Status != "ok" {
			t.Errorf("broadcast %d is answered %q", n, got.Status)
		}
		want := fmt.Sprintf(`said {"n":%d}`, n)
		for i, c := range clients {
			if got := c.payloads(t, 1)[0]; got != want {
				t.Errorf("client %d got %s, want %s", i, got, want)
			}
		}
		want = fmt.Sprintf(`broadcast {"type":"broadcast","event":"said","payload":{"n":%d}}`, n)
		if got := stock.payloads(t, 1)[0]; got != want {
			t.Errorf("the stock client got %s, want %s", got, want)
		}
	}
	say(1)
	for _, c := range clients {
		c.do(t, "token", map[string]any{"token": "header.secret.signature"})
		c.next(t, "told")
	}
	say(2) // what had been told of the token would have come before

	clients[0].do(t, "leave", map[string]any{"topic": "room"})
	if got := clients[0].next(t, "left"); got.Status != "ok" {
		t.Errorf("left: %q", got.Status)
	}
	for _, c := range append(clients, stock) {
		if said := c.stdout.text(); strings.Contains(said, "secret") {
			t.Errorf("a client got a token:\n%s", said)
		}
	}
}
