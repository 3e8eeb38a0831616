package socket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/channels"
)

// message is what a client sends, in either version of the protocol.
type message struct {
	joinRef channels.Ref
	ref     channels.Ref
	topic   string
	event   string
	payload channels.Payload
}

// errMalformed is wrapped by every error about what a client sent.
var errMalformed = errors.New("malformed message")

// maxRefBytes bounds a ref, which a channel keeps. A binary frame cannot carry
// a longer one.
const maxRefBytes = 255

// decodeText decodes a text frame. The message refers to data.
func decodeText(version channels.Format, data []byte) (message, error) {
	if !json.Valid(data) {
		return message{}, fmt.Errorf("%w: not JSON", errMalformed)
	}
	data = bytes.TrimSpace(data)
	if version&version2 != 0 {
		return decodeArray(data)
	}
	return decodeObject(data)
}

// decodeArray decodes [join_ref, ref, topic, event, payload, …], valid JSON.
func decodeArray(data []byte) (m message, err error) {
	if data[0] != '[' {
		return m, fmt.Errorf("%w: not an array", errMalformed)
	}
	var elements [5][]byte
	rest := data[1 : len(data)-1]
	for i := range elements {
		if elements[i], rest = cutValue(rest); len(elements[i]) == 0 {
			return m, fmt.Errorf("%w: %d elements, want 5", errMalformed, i)
		}
	}
	m.payload.Data = elements[4]
	return m, m.set(elements[0], elements[1], elements[2], elements[3])
}

// decodeObject decodes {"topic","event","payload","ref","join_ref"}, valid
// JSON.
func decodeObject(data []byte) (m message, err error) {
	if data[0] != '{' {
		return m, fmt.Errorf("%w: not an object", errMalformed)
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
			m.payload.Data = value
		}
	}
	if m.payload.Data == nil {
		return m, fmt.Errorf("%w: no payload", errMalformed)
	}
	return m, m.set(joinRef, ref, topic, event)
}

// set fills in all but the payload, from JSON values.
func (m *message) set(joinRef, ref, topic, event []byte) error {
	var topicOK, eventOK, joinRefOK, refOK bool
	m.topic, topicOK = unquote(topic)
	m.event, eventOK = unquote(event)
	m.joinRef, joinRefOK = refOf(joinRef)
	m.ref, refOK = refOf(ref)
	switch {
	case !joinRefOK:
		return fmt.Errorf("%w: join_ref", errMalformed)
	case !refOK:
		return fmt.Errorf("%w: ref", errMalformed)
	case !topicOK:
		return fmt.Errorf("%w: topic is not a string", errMalformed)
	case !eventOK:
		return fmt.Errorf("%w: event is not a string", errMalformed)
	}
	return nil
}

// refOf reads a ref: a JSON string, a number, null or nothing.
func refOf(raw []byte) (channels.Ref, bool) {
	switch {
	case len(raw) == 0, string(raw) == "null":
		return "", true
	case len(raw) > maxRefBytes:
		return "", false
	case raw[0] == '"', raw[0] == '-', '0' <= raw[0] && raw[0] <= '9':
		return channels.Ref(raw), true
	}
	return "", false
}

// quoteRef is a ref from a binary frame, where null is empty and all else is
// text.
func quoteRef(s string) channels.Ref {
	if s == "" {
		return ""
	}
	return channels.Ref(appendQuoted(nil, s))
}

// bareRef is a ref as it stands in a binary frame.
func bareRef(r channels.Ref) string {
	if s, ok := unquote([]byte(r)); ok {
		return s
	}
	return string(r)
}
