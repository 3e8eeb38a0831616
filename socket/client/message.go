package client

import (
	"encoding/json"
	"fmt"
)

// message is one of the protocol Phoenix Channels, version 2, in text:
// [join_ref, ref, topic, event, payload].
type message struct {
	joinRef, ref string // empty for null
	topic, event string
	payload      json.RawMessage
}

// encode fails if the payload is no JSON.
func (m message) encode() ([]byte, error) {
	ref := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	text, err := json.Marshal([]any{ref(m.joinRef), ref(m.ref), m.topic, m.event, m.payload})
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	return text, nil
}

func decode(text []byte) (message, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return message{}, fmt.Errorf("decode message: %w", err)
	}
	if len(parts) < 5 {
		return message{}, fmt.Errorf("decode message: %d elements, not 5", len(parts))
	}
	m := message{payload: parts[4]}
	for i, field := range []*string{&m.joinRef, &m.ref, &m.topic, &m.event} {
		if err := json.Unmarshal(parts[i], field); err != nil {
			return message{}, fmt.Errorf("decode message: element %d: %w", i+1, err)
		}
	}
	return m, nil
}

// reply is the payload of phx_reply.
type reply struct {
	Status   string          `json:"status"`
	Response json.RawMessage `json:"response"`
}

// reason is the usual form of an error's response, "" where it has another.
func (r reply) reason() string {
	var said struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(r.Response, &said) // one without a reason has none
	return said.Reason
}

// joinAnswer is the response to a join that asked for resuming.
type joinAnswer struct {
	Offset  int64  `json:"offset"`
	Epoch   string `json:"epoch"`
	Resumed bool   `json:"resumed"`
}

// unwrap takes apart what comes to a channel that was joined with "after": an event
// of the log is {"offset": …, "data": …}, all else {"data": …}. What comes
// without that is the protocol's own. The offset is 0 where there is none.
func (m message) unwrap() (offset int64, payload json.RawMessage) {
	var parts map[string]json.RawMessage // names are told apart by case
	if json.Unmarshal(m.payload, &parts) != nil {
		return 0, m.payload
	}
	if m.event == PositionEvent && parts["data"] == nil && json.Unmarshal(parts["offset"], &offset) == nil && offset > 0 {
		return offset, m.payload
	}
	if parts["data"] == nil || m.event == presenceState || m.event == presenceDiff {
		return 0, m.payload
	}
	offset = 0
	if number, logged := parts["offset"]; logged && (json.Unmarshal(number, &offset) != nil || offset < 0) {
		return 0, m.payload
	}
	return offset, parts["data"]
}
