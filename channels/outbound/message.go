package outbound

import (
	"encoding/json"
	"errors"
	"time"
)

// Message is what travels to a topic: an event of the log, or a broadcast.
type Message struct {
	Offset     int64 // position in the log; 0 for what is not in the log
	Topic      string
	Event      string
	Key        []byte // nil for none
	Payload    []byte // JSON, unless Binary
	Binary     bool   // Payload is bytes as they are, not JSON; never for events of the log
	Presence   bool   // a change of who is on the topic: alone in its segment
	InsertedAt time.Time
}

// Payload is the content of a message from or to one client.
type Payload struct {
	Data   []byte // JSON, unless Binary
	Binary bool
}

// Ref identifies a join or a request. It is the JSON text that the client sent,
// a string with its quotes or a number, so that it goes back with the type it
// came with. The empty Ref stands for null.
type Ref string

// Address says which channel of a client a message is for, and which request it
// answers.
type Address struct {
	Topic   string
	JoinRef Ref
	Ref     Ref
}

// Status is the outcome that a reply reports.
type Status string

// The outcomes that the protocol knows.
const (
	StatusOK    Status = "ok"
	StatusError Status = "error"
)

// Decode reads a JSON payload into v.
func (p Payload) Decode(v any) error {
	if p.Binary {
		return errors.New("channels: payload is binary, not JSON")
	}
	return json.Unmarshal(p.Data, v)
}

// MarshalJSON makes a JSON payload part of a larger one.
func (p Payload) MarshalJSON() ([]byte, error) {
	switch {
	case p.Binary:
		return nil, errors.New("channels: payload is binary, not JSON")
	case len(p.Data) == 0:
		return []byte("null"), nil
	}
	return p.Data, nil
}
