package e2e

import (
	"testing"
)

// What a stock client sees of the protocol's smaller courtesies.
func TestManners(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	for _, flavour := range flavours {
		t.Run(flavour.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, s.public, flavour.args...)

			t.Run("heartbeat", func(t *testing.T) {
				for range 3 {
					if beat := c.frame(t, "phoenix", "phx_reply"); string(beat.Payload) != `{"status":"ok","response":{}}` {
						t.Errorf("a heartbeat is answered %s", beat.Payload)
					}
				}
			})

			t.Run("unmatched topic", func(t *testing.T) {
				c.do(t, "raw", map[string]any{"message": map[string]any{"topic": "never:joined", "event": "hello", "payload": map[string]any{}}})
				reply := c.frame(t, "never:joined", "phx_reply")
				if want := `{"status":"error","response":{"reason":"unmatched topic"}}`; string(reply.Payload) != want {
					t.Errorf("an event for a topic not joined is answered %s, want %s", reply.Payload, want)
				}
			})

			t.Run("invalid after", func(t *testing.T) {
				c.do(t, "join", map[string]any{"topic": "invalid", "params": map[string]any{"after": "yesterday"}})
				if refused := c.next(t, "refused"); string(refused.Response) != `{"reason":"invalid after"}` {
					t.Errorf("a join after no offset is refused with %s", refused.Response)
				}
				c.do(t, "leave", map[string]any{"topic": "invalid"})
				c.next(t, "left")
			})

			t.Run("push", func(t *testing.T) {
				c.join(t, "pushed", nil)
				c.do(t, "push", map[string]any{"topic": "pushed", "event": "hello", "payload": map[string]any{}})
				if reply := c.next(t, "reply"); reply.Status != "error" || string(reply.Response) != `{"reason":"forbidden"}` {
					t.Errorf("a push where clients push nothing is answered %s %s", reply.Status, reply.Response)
				}
			})

			t.Run("leave", func(t *testing.T) {
				c.join(t, "left", nil)
				c.do(t, "leave", map[string]any{"topic": "left"})
				c.next(t, "left")
				c.frame(t, "left", "phx_close")
			})
		})
	}
}

// A service that is told to stop closes its sockets so that clients come back,
// and ends cleanly.
func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	c := connect(t, s.public, "phoenix18")
	c.join(t, "orders", nil)
	if code := s.stop(t); code != 0 {
		t.Errorf("the service ended with status %d", code)
	}
	if closed := c.next(t, "close"); closed.Code != 1012 {
		t.Errorf("the client saw close %d, not 1012", closed.Code)
	}
}
