package swarm

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// client is one socket, which watches some topics. What becomes of the bytes
// that it receives is all here; how they are read depends on the system.
type client struct {
	// Immutable after Open.
	number int
	topics []int32 // in order
	apart  bool    // no window waits for it

	link link         // how it is connected; see the reader
	told atomic.Int64 // arrived, for others; of clients that are apart only

	// Owned by the client's reader; Swarm's once the readers have ended.
	stage     stage
	began     int64  // when it began to connect, Unix nanoseconds
	rest      []byte // the beginning of something that has not arrived whole
	unasked   int    // joins that have not been answered
	sequences []SequenceCheck
	arrived   int64 // different events
	window    int32 // the next one to pass
	passed    int64 // events due up to the window before
	goal      int64 // events due up to that window; -1 for not yet known
	cause     error // why it ended, if that was not due
}

// stage is how far a client has come.
type stage uint8

const (
	waiting    stage = iota // to be connected
	connecting              // the connection is not established
	shaking                 // the handshake has not been answered
	joining                 // not all joins have been answered
	joined
	ended
)

func newClient(number int, load Load) *client {
	c := &client{number: number, goal: -1}
	for _, topic := range load.Watched(number) {
		c.topics = append(c.topics, int32(topic))
	}
	c.sequences = make([]SequenceCheck, len(c.topics))
	c.unasked = len(c.topics)
	return c
}

// key is what all handshakes carry, and accepted what it is to be answered
// with (RFC 6455, 4.2.2).
const key = "c2x1aWNlLXN3YXJtLWtleQ=="

var accepted = func() []byte {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.AppendEncode(nil, sum[:])
}()

// handshake is the request that asks for a WebSocket.
func handshake(host, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", path, host, key)
}

var endOfHead = []byte("\r\n\r\n")

// maxHead bounds the answer to a handshake.
const maxHead = 16 << 10

// cutAnswer takes the answer to the handshake; size is 0 when it is not whole.
func cutAnswer(data []byte) (size int, err error) {
	end := bytes.Index(data, endOfHead)
	if end < 0 {
		if len(data) > maxHead {
			return 0, errors.New("the handshake was answered with a head without an end")
		}
		return 0, nil
	}
	answer := data[:end]
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101")) {
		line, _, _ := bytes.Cut(answer, []byte("\r\n"))
		return 0, fmt.Errorf("the handshake was answered %s", line)
	}
	if !bytes.Contains(answer, accepted) {
		return 0, errors.New("the handshake was answered by something that is no WebSocket server")
	}
	return end + len(endOfHead), nil
}

// receiver is what a reader has for the clients that it reads for, one after
// the other.
type receiver struct {
	swarm     *Swarm
	latencies *Latencies
	out       []byte // what is to be sent; reused

	deliveries  atomic.Int64 // all that arrived; read by others
	first, last atomic.Int64 // when the first and the last one did, Unix nanoseconds
	unheard     int64        // deliveries not yet added; owned by the reader
}

// receive takes what was read for a client, at a time, and returns what is not
// whole yet. What it wants to send is in r.out afterwards.
func (r *receiver) receive(c *client, data []byte, now int64) (rest []byte, err error) {
	r.out, r.unheard = r.out[:0], 0
	if c.stage == shaking {
		size, err := cutAnswer(data)
		if size == 0 || err != nil {
			return data, err
		}
		data = data[size:]
		c.stage = joining
		r.swarm.config.Dialect.Greet(r.say, r.swarm.names(c))
	}
	for {
		f, size, err := cutFrame(data)
		if err == nil && size > 0 {
			err = r.hear(c, f, now)
		}
		if err != nil || size == 0 {
			r.arrive(c, now) // also of what came before an error
			return data, err
		}
		data = data[size:]
	}
}

// arrive makes known what one read brought.
func (r *receiver) arrive(c *client, now int64) {
	if r.unheard == 0 {
		return
	}
	if r.deliveries.Add(r.unheard) == r.unheard {
		r.first.Store(now)
	}
	r.last.Store(now)
	if c.apart {
		c.told.Store(c.arrived)
		return
	}
	r.swarm.arrivedAt(c, now)
}

// say queues a text message.
func (r *receiver) say(message []byte) { r.out = appendFrame(r.out, opText, message) }

func (r *receiver) hear(c *client, f frame, now int64) error {
	switch f.op {
	case opText, opBin:
	case opPing:
		r.out = appendFrame(r.out, opPong, f.payload)
		return nil
	case opClose:
		return closing(f.payload)
	default:
		return nil
	}
	e, rest, ok := nextEvent(f.payload)
	if !ok {
		return r.answer(c, f.payload, now)
	}
	for ok {
		if err := r.note(c, e, now); err != nil {
			return err
		}
		e, rest, ok = nextEvent(rest)
	}
	if r.swarm.blender != nil {
		r.swarm.blender.HearMixed(r.say, f.payload)
	}
	return nil
}

// answer has the dialect take a message without events.
func (r *receiver) answer(c *client, message []byte, now int64) error {
	joins, err := r.swarm.config.Dialect.Hear(r.say, r.swarm.names(c), message)
	if err != nil {
		return err
	}
	if c.unasked -= joins; c.unasked <= 0 && c.stage == joining {
		c.stage = joined
		r.swarm.hasJoined(c, now)
	}
	return nil
}

// note enters an event's arrival.
func (r *receiver) note(c *client, e Event, now int64) error {
	subscription := 0
	if len(c.topics) != 1 || int(c.topics[0]) != e.Topic {
		var found bool
		if subscription, found = slices.BinarySearch(c.topics, int32(e.Topic)); !found {
			return fmt.Errorf("an event of topic %d, which this client has not joined", e.Topic)
		}
	}
	r.unheard++
	if c.sequences[subscription].Note(e.Number) {
		c.arrived++
	}
	if e.At != 0 {
		r.latencies.Record(time.Duration(now - e.At))
	}
	return nil
}
