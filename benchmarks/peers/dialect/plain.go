package dialect

import (
	"encoding/json"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Plain is what servers/node/ws.js speaks, which bears no protocol above
// WebSocket: a list of topics to join, and the same list back. The server's
// pings are WebSocket's own, which the swarm answers.
type Plain struct{}

// Path implements [swarm.Dialect].
func (Plain) Path() string { return "/" }

// Greet implements [swarm.Dialect].
func (Plain) Greet(say swarm.Say, topics []string) {
	join, err := json.Marshal(struct {
		Join []string `json:"join"`
	}{topics})
	if err != nil {
		panic(err) // strings can always be encoded
	}
	say(join)
}

// Hear implements [swarm.Dialect].
func (Plain) Hear(_ swarm.Say, _ []string, message []byte) (joined int, err error) {
	var answer struct {
		Joined []string `json:"joined"`
	}
	if err := json.Unmarshal(message, &answer); err != nil || len(answer.Joined) == 0 {
		return 0, unknown("ws", message)
	}
	return len(answer.Joined), nil
}
