package hooks

import (
	"encoding/json"
	"time"
)

// Question is what a hook is asked. Fields that are of no hook's concern are left out.
type Question struct {
	Hook    string          `json:"hook"` // set by Ask
	Topic   string          `json:"topic,omitempty"`
	Event   string          `json:"event,omitempty"`
	Params  any             `json:"params,omitempty"`  // of the connection, or the join
	Payload json.RawMessage `json:"payload,omitempty"` // of a push
	Socket  *Peer           `json:"socket,omitempty"`  // of a join and a push

	// Of a connect.

	Token      string            `json:"token,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	RemoteAddr string            `json:"remote_addr,omitempty"`
	Transport  string            `json:"transport,omitempty"`

	Node string `json:"node"`
}

// Peer is who joins or pushes.
type Peer struct {
	ID         string          `json:"id"`
	Subject    string          `json:"sub,omitempty"`
	Claims     json.RawMessage `json:"claims,omitempty"` // of its token, or of the connect hook
	RemoteAddr string          `json:"remote_addr"`
	Transport  string          `json:"transport"`
}

// What becomes of an event that is pushed.
const (
	DoNone      = "none"
	DoBroadcast = "broadcast"
	DoLog       = "log"
)

// Answer is what a hook says that allows. It is shared: nobody changes it.
type Answer struct {
	Reason  string    // of one that does not
	Expires time.Time // when it ends, zero: not by itself

	// Of a connect.

	Subject string
	Topics  []string // patterns
	Listed  bool     // it lists topics at all
	Claims  []byte   // an object, nil if there is none

	// Of a join.

	Response []byte // an object, nil if there is none

	// Of a push.

	Do      string
	Event   string // "": that of the client
	Payload []byte // an object; nil: that of the client
	Reply   []byte // an object, nil if there is none
}
