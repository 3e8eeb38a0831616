package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Centrifuge is the JSON protocol of the centrifuge library, and so of
// Centrifugo. A topic is a channel.
type Centrifuge struct{}

// Path implements [swarm.Dialect].
func (Centrifuge) Path() string { return "/connection/websocket" }

// Greet connects and subscribes in one message: commands stand one a line, and
// are numbered, since each is answered by its number.
func (Centrifuge) Greet(say swarm.Say, topics []string) {
	commands := []byte(`{"id":1,"connect":{}}`)
	for i, topic := range topics {
		commands = fmt.Appendf(commands, "\n"+`{"id":%d,"subscribe":{"channel":%q}}`, i+2, topic)
	}
	say(commands)
}

// centrifugePing is the server's ping, and its answer.
var centrifugePing = []byte("{}")

// Hear implements [swarm.Dialect].
func (Centrifuge) Hear(say swarm.Say, _ []string, message []byte) (joined int, err error) {
	for line := range bytes.Lines(message) {
		line = bytes.TrimSpace(line)
		if bytes.Equal(line, centrifugePing) {
			say(centrifugePing)
			continue
		}
		var reply struct {
			Connect   json.RawMessage `json:"connect"`
			Subscribe json.RawMessage `json:"subscribe"`
		}
		if err := json.Unmarshal(line, &reply); err != nil {
			return joined, unknown("centrifuge", line)
		}
		switch {
		case reply.Subscribe != nil:
			joined++
		case reply.Connect == nil:
			return joined, unknown("centrifuge", line)
		}
	}
	return joined, nil
}

// HearMixed implements [swarm.Blender]: a ping may stand before or behind the
// publications that the server gathers into a message.
func (Centrifuge) HearMixed(say swarm.Say, message []byte) {
	first, _, _ := bytes.Cut(message, []byte("\n"))
	last := message[bytes.LastIndexByte(message, '\n')+1:]
	if bytes.Equal(first, centrifugePing) || bytes.Equal(last, centrifugePing) {
		say(centrifugePing)
	}
}

// unknown is the error for a message that a dialect makes nothing of. It shows
// the beginning.
func unknown(protocol string, message []byte) error {
	const shown = 200
	return fmt.Errorf("%s: the server says %q, which is no answer to a join", protocol, message[:min(len(message), shown)])
}
