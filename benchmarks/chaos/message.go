package chaos

import (
	"encoding/json"
	"fmt"
)

// phoenixMessage is a message of either version.
type phoenixMessage struct {
	joinRef, ref, topic, event string
	payload                    json.RawMessage
}

// decodeMessage reads a message of version 2, or of the old one.
func decodeMessage(old bool, text []byte) (m phoenixMessage, err error) {
	var joinRef, ref *string
	if old {
		object := struct {
			Topic   *string
			Event   *string
			Payload *json.RawMessage
			Ref     **string
		}{&m.topic, &m.event, &m.payload, &ref}
		err = json.Unmarshal(text, &object)
	} else {
		err = json.Unmarshal(text, &[]any{&joinRef, &ref, &m.topic, &m.event, &m.payload})
	}
	if err != nil {
		return m, fmt.Errorf("a message that is none: %.200s: %w", text, err)
	}
	if joinRef != nil {
		m.joinRef = *joinRef
	}
	if ref != nil {
		m.ref = *ref
	}
	return m, nil
}

// encodeMessage writes a message of version 2, or of the old one.
func encodeMessage(old bool, join, ref, topic, event, payload string) []byte {
	if old {
		return fmt.Appendf(nil, `{"topic":%q,"event":%q,"payload":%s,"ref":%q,"join_ref":%q}`, topic, event, payload, ref, join)
	}
	return fmt.Appendf(nil, `[%q,%q,%q,%q,%s]`, join, ref, topic, event, payload)
}
