package dialect

import (
	"bytes"
	"encoding/json"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// SocketIO is Socket.IO over WebSocket from the beginning, as clients do it
// with transports: ["websocket"]. A topic is a room: the server puts a client
// into those that it names in an event "join", and acknowledges that.
type SocketIO struct{}

// Path implements [swarm.Dialect].
func (SocketIO) Path() string { return "/socket.io/?EIO=4&transport=websocket" }

// Greet says nothing: the server speaks first.
func (SocketIO) Greet(swarm.Say, []string) {}

// The packets that matter: the type of Engine.IO's, and for a message that of
// Socket.IO's within. An event and its acknowledgement bear a number, ours 0.
var (
	ioOpen      = []byte("0{")
	ioPing      = []byte("2")
	ioPong      = []byte("3")
	ioConnect   = []byte("40")
	ioConnected = []byte("40{")
	ioJoin      = []byte(`420["join",`)
	ioJoined    = []byte("430")
)

// Hear implements [swarm.Dialect].
func (SocketIO) Hear(say swarm.Say, topics []string, message []byte) (joined int, err error) {
	switch {
	case bytes.Equal(message, ioPing):
		say(ioPong)
	case bytes.HasPrefix(message, ioOpen):
		say(ioConnect)
	case bytes.HasPrefix(message, ioConnected):
		rooms, err := json.Marshal(topics)
		if err != nil {
			return 0, err
		}
		say(append(append(bytes.Clone(ioJoin), rooms...), ']'))
	case bytes.HasPrefix(message, ioJoined):
		return len(topics), nil
	default:
		return 0, unknown("socket.io", message)
	}
	return 0, nil
}
