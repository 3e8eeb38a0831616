package phoenix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/channels/outbound"
)

// ClientMessage is what a client sends, in either version of the protocol.
type ClientMessage struct {
	JoinRef outbound.Ref
	Ref     outbound.Ref
	Topic   string
	Event   string
	Payload outbound.Payload
}

// Address is where the answer to the message goes.
func (m *ClientMessage) Address() outbound.Address {
	return outbound.Address{Topic: m.Topic, JoinRef: m.JoinRef, Ref: m.Ref}
}

// ErrMalformed is wrapped by every error about what a client sent.
var ErrMalformed = errors.New("malformed message")

// maxRefBytes bounds a ref, which a channel keeps. A binary frame cannot carry
// a longer one.
const maxRefBytes = maxFieldBytes

// DecodeText decodes a text frame. The message refers to data.
func DecodeText(version outbound.Format, data []byte) (ClientMessage, error) {
	if !json.Valid(data) {
		return ClientMessage{}, fmt.Errorf("%w: not JSON", ErrMalformed)
	}
	data = bytes.TrimSpace(data)
	if version&Version2 != 0 {
		return decodeArray(data)
	}
	return decodeObject(data)
}

// decodeArray decodes [join_ref, ref, topic, event, payload, …], valid JSON.
func decodeArray(data []byte) (m ClientMessage, err error) {
	if data[0] != '[' {
		return m, fmt.Errorf("%w: not an array", ErrMalformed)
	}
	var elements [5][]byte
	rest := data[1 : len(data)-1]
	for i := range elements {
		if elements[i], rest = cutValue(rest); len(elements[i]) == 0 {
			return m, fmt.Errorf("%w: %d elements, want 5", ErrMalformed, i)
		}
	}
	m.Payload.Data = elements[4]
	return m, m.set(elements[0], elements[1], elements[2], elements[3])
}

// decodeObject decodes {"topic","event","payload","ref","join_ref"}, valid
// JSON.
func decodeObject(data []byte) (m ClientMessage, err error) {
	if data[0] != '{' {
		return m, fmt.Errorf("%w: not an object", ErrMalformed)
	}
	var joinRef, ref, topic, event []byte
	for rest := data[1 : len(data)-1]; len(rest) > 0; {
		var key, value []byte
		key, rest = cutValue(rest)
		value, rest = cutValue(rest)
		switch name, _ := unquote(key); name {
		case "join_ref":
			joinRef = value
		case "ref":
			ref = value
		case "topic":
			topic = value
		case "event":
			event = value
		case "payload":
			m.Payload.Data = value
		}
	}
	if m.Payload.Data == nil {
		return m, fmt.Errorf("%w: no payload", ErrMalformed)
	}
	return m, m.set(joinRef, ref, topic, event)
}

// set fills in all but the payload, from JSON values.
func (m *ClientMessage) set(joinRef, ref, topic, event []byte) error {
	var topicOK, eventOK, joinRefOK, refOK bool
	m.Topic, topicOK = unquote(topic)
	m.Event, eventOK = unquote(event)
	m.JoinRef, joinRefOK = refOf(joinRef)
	m.Ref, refOK = refOf(ref)
	switch {
	case !joinRefOK:
		return fmt.Errorf("%w: join_ref", ErrMalformed)
	case !refOK:
		return fmt.Errorf("%w: ref", ErrMalformed)
	case !topicOK:
		return fmt.Errorf("%w: topic is not a string", ErrMalformed)
	case !eventOK:
		return fmt.Errorf("%w: event is not a string", ErrMalformed)
	}
	return nil
}

// refOf reads a ref: a JSON string, a number, null or nothing.
func refOf(raw []byte) (outbound.Ref, bool) {
	switch {
	case len(raw) == 0, string(raw) == "null":
		return "", true
	case len(raw) > maxRefBytes:
		return "", false
	case raw[0] == '"', raw[0] == '-', '0' <= raw[0] && raw[0] <= '9':
		return outbound.Ref(raw), true
	}
	return "", false
}

// quoteRef is a ref from a binary frame, where null is empty and all else is
// text.
func quoteRef(s string) outbound.Ref {
	if s == "" {
		return ""
	}
	return outbound.Ref(AppendQuoted(nil, s))
}

// SameRef tells whether two refs are the same to a client: it may send as text,
// or in a binary frame, what it has sent as a number.
func SameRef(a, b outbound.Ref) bool { return bareRef(a) == bareRef(b) }

// bareRef is a ref as it stands in a binary frame.
func bareRef(r outbound.Ref) string {
	if s, ok := unquote([]byte(r)); ok {
		return s
	}
	return string(r)
}
