package swarm

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// Dialect is a protocol over WebSocket messages, as far as clients need it to
// join topics and stay connected. It holds no state of a client, and is used by
// several goroutines at the same time.
type Dialect interface {
	// Path is the path and query of the handshake.
	Path() string
	// Greet says what a client says first, once it is connected: the joins of
	// all its topics, where the protocol lets it.
	Greet(say Say, topics []string)
	// Hear takes a message that carries none of our events, and says what it
	// asks for, such as the answer to a ping. It returns how many of the
	// client's joins the message answers; an error ends the client. The message
	// is valid during the call.
	Hear(say Say, topics []string, message []byte) (joined int, err error)
}

// Say sends a text message, which is copied.
type Say func(message []byte)

// Beater is a dialect whose clients have to say something now and then.
type Beater interface {
	// Beat is how often they say what.
	Beat() (every time.Duration, message []byte)
}

// Blender is a dialect in which what a server asks for may stand in the same
// message as events.
type Blender interface {
	// HearMixed takes a message that carried events, and says what else in it
	// asks for. The message is valid during the call.
	HearMixed(say Say, message []byte)
}

// Phoenix is the dialect of Phoenix Channels, version 2, which Sluice speaks.
type Phoenix struct {
	// Mount is the path of the socket. Empty: /socket.
	Mount string
	// Token is the connect parameter of that name, as it stands in a URL. Empty:
	// none.
	Token string
	// After has the clients join with {"after": null}, so that events carry
	// their offsets and nothing is shed.
	After bool
}

// Path implements [Dialect].
func (p Phoenix) Path() string {
	mount := p.Mount
	if mount == "" {
		mount = "/socket"
	}
	path := mount + "/websocket?vsn=2.0.0"
	if p.Token != "" {
		path += "&token=" + p.Token
	}
	return path
}

// Greet implements [Dialect].
func (p Phoenix) Greet(say Say, topics []string) {
	payload := "{}"
	if p.After {
		payload = `{"after":null}`
	}
	var ask []byte
	for i, topic := range topics {
		ask = append(ask[:0], `["`...)
		ask = strconv.AppendInt(ask, int64(i+1), 10)
		ask = append(ask, `","`...)
		ask = strconv.AppendInt(ask, int64(i+1), 10)
		ask = append(ask, `",`...)
		ask = strconv.AppendQuote(ask, topic)
		ask = append(ask, `,"phx_join",`...)
		ask = append(append(ask, payload...), ']')
		say(ask)
	}
}

var (
	phoenixReply = []byte(`,"phx_reply",`)
	phoenixOK    = []byte(`{"status":"ok"`)
	phoenixBeat  = []byte(`,"phoenix",`)
)

// Hear implements [Dialect].
func (p Phoenix) Hear(_ Say, _ []string, message []byte) (joined int, err error) {
	_, answer, reply := bytes.Cut(message, phoenixReply)
	switch {
	case reply && bytes.Contains(message, phoenixBeat):
		return 0, nil
	case reply && bytes.HasPrefix(answer, phoenixOK):
		return 1, nil
	case reply:
		return 0, fmt.Errorf("a join was answered %s", message)
	}
	return 0, fmt.Errorf("a message that is none of ours: %s", message[:min(len(message), 200)])
}

// Beat implements [Beater].
func (p Phoenix) Beat() (time.Duration, []byte) {
	return 30 * time.Second, []byte(`[null,"0","phoenix","heartbeat",{}]`)
}
