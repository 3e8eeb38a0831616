package sluice_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// holding runs a service that the test holds.
func holding(t *testing.T) (*sluice.Service, *sluicetest.Node) {
	t.Helper()
	var held *sluice.Service
	node := sluicetest.Run(t, func(ctx context.Context, config sluice.Config) error {
		service, err := sluice.New(config)
		if err != nil {
			return err
		}
		if err := service.Publish(ctx, sluice.Event{Topic: "t", Event: "e"}); !errors.Is(err, sluice.ErrNotOpen) {
			t.Errorf("published before Run: %v", err)
		}
		held = service
		return service.Run(ctx)
	})
	return held, node // written before the node was ready
}

func TestPublish(t *testing.T) {
	t.Parallel()
	service, node := holding(t)
	client := node.Connect("/socket", "")
	for _, topic := range []string{"a", "b"} {
		client.Send(fmt.Sprintf(`["1","1","%s","phx_join",{}]`, topic))
		client.Expect(fmt.Sprintf(`["1","1","%s","phx_reply",{"status":"ok","response":{}}]`, topic))
	}
	if err := service.Publish(t.Context()); err != nil {
		t.Errorf("no events: %v", err)
	}
	if err := service.Publish(t.Context(),
		sluice.Event{Topic: "a", Event: "one", Payload: map[string]int{"n": 1}},
		sluice.Event{Topic: "a", Event: "two", Key: []byte("k")},
		sluice.Event{Topic: "a", Event: "three", Payload: struct{ Text string }{"<ä>"}},
	); err != nil {
		t.Fatal(err)
	}
	client.Expect(`[null,null,"a","one",{"n":1}]`)
	client.Expect(`[null,null,"a","two",{}]`)
	client.Expect(`[null,null,"a","three",{"Text":"\u003cä\u003e"}]`)

	for name, test := range map[string]struct {
		bad   sluice.Event
		field string
	}{
		"no topic":         {sluice.Event{Event: "e"}, "topic"},
		"our topic":        {sluice.Event{Topic: "sluice:x", Event: "e"}, "topic"},
		"no event":         {sluice.Event{Topic: "a"}, "event"},
		"our event":        {sluice.Event{Topic: "a", Event: "phx_close"}, "event"},
		"no object":        {sluice.Event{Topic: "a", Event: "e", Payload: 7}, "payload"},
		"bytes":            {sluice.Event{Topic: "a", Event: "e", Payload: sluice.Binary{1}}, "payload"},
		"a large payload":  {sluice.Event{Topic: "a", Event: "e", Payload: map[string]string{"x": strings.Repeat("x", 2<<20)}}, "payload"},
		"a large key":      {sluice.Event{Topic: "a", Event: "e", Key: make([]byte, 2<<10)}, "key"},
		"what is no value": {sluice.Event{Topic: "a", Event: "e", Payload: func() {}}, ""},
	} {
		invalid := new(sluice.InvalidError)
		err := service.Publish(t.Context(), sluice.Event{Topic: "a", Event: "never"}, test.bad)
		if err == nil || errors.As(err, &invalid) != (test.field != "") || test.field != "" && (invalid.Index != 1 || invalid.Field != test.field) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := service.Publish(t.Context(), sluice.Event{Topic: "b", Event: "last"}); err != nil {
		t.Fatal(err)
	}
	client.Expect(`[null,null,"b","last",{}]`) // and nothing of what was refused
}

func TestBroadcast(t *testing.T) {
	t.Parallel()
	service, node := holding(t)
	client := node.Connect("/socket", "")
	client.Send(`["1","1","a","phx_join",{}]`)
	client.Expect(`["1","1","a","phx_reply",{"status":"ok","response":{}}]`)
	for _, send := range []struct {
		topic, event string
		payload      any
		field        string // that is wrong
	}{
		{"a", "one", map[string]int{"n": 1}, ""},
		{"nobody", "one", nil, ""},
		{"", "one", nil, "topic"},
		{"phoenix", "one", nil, "topic"},
		{"a", "phx_error", nil, "event"},
		{"a", "e", "text", "payload"},
		{"a", "e", map[string]string{"x": strings.Repeat("x", 2<<20)}, "payload"},
		{"a", "last", nil, ""},
	} {
		invalid := new(sluice.InvalidError)
		err := service.Broadcast(send.topic, send.event, send.payload)
		if (err != nil) != (send.field != "") || err != nil && (!errors.As(err, &invalid) || invalid.Field != send.field) {
			t.Errorf("%s to %q: %v", send.event, send.topic, err)
		}
	}
	client.Expect(`[null,null,"a","one",{"n":1}]`)
	client.Expect(`[null,null,"a","last",{}]`)
}
