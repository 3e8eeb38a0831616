package phoenix

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/sluicehq/sluice/channels/outbound"
)

// The first byte of a binary frame says what it is. The server sends pushes,
// replies and broadcasts, and reads pushes; supabase's realtime-js sends
// broadcasts of its users as a kind of their own.
const (
	kindPush          = 0
	kindReply         = 1
	kindBroadcast     = 2
	kindUserBroadcast = 3
)

// encodingJSON is how a kindUserBroadcast says that its data is JSON.
const encodingJSON = 1

// AnswerableError is the answer to a message that cannot be read, but for who wants to
// be answered: the connection goes on.
type AnswerableError struct {
	To     outbound.Address
	Reason string
}

func (e *AnswerableError) Error() string { return "socket: refused: " + e.Reason }

// DecodeBinary decodes a binary frame, which only version 2 has. The message
// refers to data. An error is a [*AnswerableError], or wraps ErrMalformed.
func DecodeBinary(version outbound.Format, data []byte) (m ClientMessage, err error) {
	switch {
	case version&Version2 == 0:
		return m, fmt.Errorf("%w: binary frame in version 1", ErrMalformed)
	case len(data) == 0:
		return m, fmt.Errorf("%w: empty binary frame", ErrMalformed)
	case data[0] == kindUserBroadcast:
		return decodeUserBroadcast(data)
	}
	var fields [4]string
	rest, err := cutFields(fields[:], 0, data)
	if err != nil {
		return m, err
	}
	m = ClientMessage{
		JoinRef: quoteRef(fields[0]),
		Ref:     quoteRef(fields[1]),
		Topic:   fields[2],
		Event:   fields[3],
		Payload: outbound.Payload{Data: rest, Binary: true},
	}
	switch {
	case data[0] == kindPush:
		return m, nil
	case m.Ref == "":
		return ClientMessage{}, fmt.Errorf("%w: binary frame of kind %d", ErrMalformed, data[0])
	}
	return ClientMessage{}, &AnswerableError{m.Address(), "unknown kind of message"}
}

// decodeUserBroadcast decodes what realtime-js sends in place of the text event
// "broadcast" with {"type", "event", "payload"}: the same, with the user's event in
// the place of the push's, and metadata that nobody here reads. Binary data has no
// place in such an object.
func decodeUserBroadcast(data []byte) (ClientMessage, error) {
	var fields [5]string
	rest, err := cutFields(fields[:], 1, data)
	if err != nil {
		return ClientMessage{}, err
	}
	m := ClientMessage{JoinRef: quoteRef(fields[0]), Ref: quoteRef(fields[1]), Topic: fields[2], Event: "broadcast"}
	if data[1+len(fields)] != encodingJSON || !json.Valid(rest) {
		return ClientMessage{}, &AnswerableError{m.Address(), "invalid payload"}
	}
	payload := AppendQuoted([]byte(`{"type":"broadcast","event":`), fields[3])
	payload = append(append(payload, `,"payload":`...), rest...)
	m.Payload.Data = append(payload, '}')
	return m, nil
}

// maxFieldBytes bounds a field of a binary frame, whose length is one byte.
const maxFieldBytes = math.MaxUint8

// cutFields reads the fields of a binary frame, which are text: after the kind their
// lengths, then bytes of other use, then all fields, then the rest.
func cutFields(fields []string, others int, data []byte) (rest []byte, err error) {
	header := 1 + len(fields) + others
	if len(data) < header {
		return nil, fmt.Errorf("%w: binary frame of %d bytes", ErrMalformed, len(data))
	}
	rest = data[header:]
	for i := range fields {
		n := int(data[1+i])
		if n > len(rest) {
			return nil, fmt.Errorf("%w: binary frame ends within its header", ErrMalformed)
		}
		fields[i], rest = string(rest[:n]), rest[n:]
		if !validUTF8(fields[i]) {
			return nil, fmt.Errorf("%w: invalid UTF-8 in a binary frame", ErrMalformed)
		}
	}
	return rest, nil
}
