package client_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
	"github.com/sluicehq/sluice/socket/client"
)

// The real service: events of the log and broadcasts, pushes, presences, resuming and what
// can no longer be resumed.
func TestWithTheService(t *testing.T) {
	t.Parallel()
	node := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
		c.Topics = []sluicetest.TopicRule{{Match: "room:*", Publish: "broadcast"}, {Match: "*"}}
		c.Topics[0].Presence.On = true
	}))
	publish := func(topic string, n int) {
		t.Helper()
		header := map[string]string{"Content-Type": "application/json"}
		if status, answer := node.Request("POST", node.Admin, "/api/events", header, fmt.Sprintf(`{"topic":%q,"event":"e","payload":{"n":%d}}`, topic, n)); status != 202 {
			t.Fatal(status, answer)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), sluicetest.Patience)
	defer cancel()
	url := "ws://" + node.Public + "/socket"
	c, err := client.Dial(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	publish("orders", 1)
	publish("orders", 2)
	var at client.Position
	for e, err := range c.Watch(ctx, "orders", client.From("", 0)) {
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Payload) == `{"n":1}` {
			at = e.Position()
			break
		}
	}
	for e, err := range c.Watch(ctx, "orders", client.From(at.Epoch, at.After)) { // again, by the same client
		if err != nil || string(e.Payload) != `{"n":2}` {
			t.Errorf("after %v: %+v, %v", at, e, err)
		}
		break
	}
	for _, err := range c.Watch(ctx, "orders", client.From("another", 1)) {
		if reset := new(client.ResetError); !errors.As(err, &reset) || reset.To.Epoch != at.Epoch {
			t.Errorf("of another epoch: %v", err)
		}
		break
	}

	room, err := c.Join(ctx, "room:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := room.Push(ctx, "hello", map[string]string{"text": "hi"}); err != nil {
		t.Error(err)
	}
	if _, err := room.Push(ctx, "phx_reply", nil); err == nil {
		t.Error("an event of the protocol was pushed")
	}
	publish("room:1", 3)
	var here client.Presences
	var heard []string
	for e, err := range room.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if !here.Apply(e) {
			heard = append(heard, fmt.Sprint(e.Name, " ", string(e.Payload), " ", e.Offset > 0))
		}
		if len(here.ByKey) == 1 && len(heard) == 2 {
			break
		}
	}
	if got := fmt.Sprint(heard); got != `[hello {"text":"hi"} false e {"n":3} true]` {
		t.Error(got)
	}
}
