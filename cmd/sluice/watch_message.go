package main

import (
	"encoding/json"
	"fmt"
)

// phoenixMessage is one of the protocol Phoenix Channels, version 2, in text:
// [join_ref, ref, topic, event, payload].
type phoenixMessage struct {
	joinRef, ref string // empty for null
	topic, event string
	payload      json.RawMessage
}

func (m phoenixMessage) encode() []byte {
	ref := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	text, err := json.Marshal([]any{ref(m.joinRef), ref(m.ref), m.topic, m.event, m.payload})
	if err != nil {
		panic(err) // all payloads that are sent are made here
	}
	return text
}

func decode(text []byte) (phoenixMessage, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return phoenixMessage{}, fmt.Errorf("decode message: %w", err)
	}
	if len(parts) < 5 {
		return phoenixMessage{}, fmt.Errorf("decode message: %d elements, not 5", len(parts))
	}
	m := phoenixMessage{payload: parts[4]}
	for i, field := range []*string{&m.joinRef, &m.ref, &m.topic, &m.event} {
		if err := json.Unmarshal(parts[i], field); err != nil {
			return phoenixMessage{}, fmt.Errorf("decode message: element %d: %w", i+1, err)
		}
	}
	return m, nil
}

// joinReply is the payload of phx_reply.
type joinReply struct {
	Status   string `json:"status"`
	Response struct {
		Reason string `json:"reason"`

		// Of a join that asked for resuming.
		Offset  int64           `json:"offset"`
		Epoch   json.RawMessage `json:"epoch"` // whatever it is, it is sent back as it came
		Resumed bool            `json:"resumed"`
	} `json:"response"`
}

// printedEvent is the line that watch prints for an event: the order of the keys is promised.
type printedEvent struct {
	Topic   string          `json:"topic"`
	Event   string          `json:"event"`
	Offset  *int64          `json:"offset,omitempty"` // none for a broadcast
	Payload json.RawMessage `json:"payload"`
}

// printedEventOf unwraps what comes to a channel that was joined with "after": an event
// of the log as {"offset": …, "data": …}, all else as {"data": …}. What comes
// without that is the protocol's own.
func printedEventOf(m phoenixMessage) printedEvent {
	var parts map[string]json.RawMessage // names are told apart by case
	var offset *int64
	if json.Unmarshal(m.payload, &parts) != nil || parts["data"] == nil {
		return printedEvent{m.topic, m.event, nil, m.payload}
	}
	if number, logged := parts["offset"]; logged && json.Unmarshal(number, &offset) != nil {
		return printedEvent{m.topic, m.event, nil, m.payload}
	}
	return printedEvent{m.topic, m.event, offset, parts["data"]}
}
