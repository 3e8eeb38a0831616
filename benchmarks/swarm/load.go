package swarm

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"strconv"
)

// Load is who watches what, and what there is to see. With fewer topics than
// sockets, several sockets watch a topic; with more, a socket watches several.
// Where Channels says how many a socket watches, these are the next so many of all,
// behind those of the socket before: no more than there are, and enough for all of them.
// Every topic is watched. Event i goes to topic i % Topics, and is its event
// i / Topics.
type Load struct {
	Topics   int // at least 1
	Sockets  int // at least 1
	Channels int // topics that a socket watches, within reason; 0: as few as will do
	Payload  int // bytes of an event's payload; less than its head takes means just that
}

// TopicPrefix is what the topics of scenarios begin with.
const TopicPrefix = "bench:"

// MaxPayload bounds an event's payload, in bytes.
const MaxPayload = 1 << 20

// Validate tells what is wrong with a load.
func (l Load) Validate() error {
	if l.Topics < 1 || l.Sockets < 1 || l.Channels < 0 || l.Payload < 0 || l.Payload > MaxPayload {
		return fmt.Errorf("swarm: %+v: want topics and sockets from 1, channels from 0, a payload of 0 to %d bytes", l, MaxPayload)
	}
	return nil
}

// Watched lists the topics that a socket watches, in order.
func (l Load) Watched(socket int) (topics []int) {
	if l.Channels > 0 {
		n := l.channels()
		for i := range n {
			topics = append(topics, (socket*n+i)%l.Topics)
		}
		slices.Sort(topics)
		return topics
	}
	if l.Topics <= l.Sockets {
		return []int{socket % l.Topics}
	}
	for t := socket; t < l.Topics; t += l.Sockets {
		topics = append(topics, t)
	}
	return topics
}

// channels is how many topics a socket watches, where they all watch as many.
func (l Load) channels() int {
	return min(max(l.Channels, (l.Topics+l.Sockets-1)/l.Sockets), l.Topics)
}

// Share is how many of the first events go to a topic.
func (l Load) Share(topic int, events int64) int64 {
	return (events - int64(topic) + int64(l.Topics) - 1) / int64(l.Topics)
}

// Deliveries is how many there are to be when each event reaches all its
// watchers.
func (l Load) Deliveries(events int64) (n int64) {
	for topic := range l.Topics {
		n += l.Share(topic, events) * int64(l.watchers(topic))
	}
	return n
}

// watchers is how many sockets watch a topic.
func (l Load) watchers(topic int) int {
	if l.Channels == 0 && l.Topics >= l.Sockets {
		return 1
	}
	return (l.Sockets*l.channels() - topic + l.Topics - 1) / l.Topics
}

// Event is one of a load's events, as it is published.
type Event struct {
	Topic  int
	Number int64 // within the topic, from 0
	At     int64 // Unix nanoseconds from when on its latency counts; 0 for nobody asks
}

// Event is the load's event of that index.
func (l Load) Event(index, at int64) Event {
	return Event{int(index % int64(l.Topics)), index / int64(l.Topics), at}
}

// AppendPayload appends an event's payload: a JSON object that begins with what
// clients look for, padded to the load's size.
func (l Load) AppendPayload(dst []byte, e Event) []byte {
	begin := len(dst)
	dst = strconv.AppendInt(append(dst, payloadHead...), e.Number, 10)
	dst = strconv.AppendInt(append(dst, payloadTopic...), int64(e.Topic), 10)
	dst = strconv.AppendInt(append(dst, payloadAt...), e.At, 10)
	const frame = len(`,"pad":""}`)
	padding := l.Payload - (len(dst) - begin) - frame
	if padding < 0 {
		return append(dst, '}')
	}
	dst = append(dst, `,"pad":"`...)
	for padding > 0 {
		n := min(padding, len(pad))
		dst = append(dst, pad[:n]...)
		padding -= n
	}
	return append(dst, `"}`...)
}

// The parts of a payload between what varies, as it is written and found again.
const (
	payloadHead  = `{"n":`
	payloadTopic = `,"t":`
	payloadAt    = `,"at":`
)

var pad = bytes.Repeat([]byte{'x'}, 256)

// Events are the events whose payloads stand in a message, for clients that are
// no swarm.
func Events(message []byte) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for e, rest, ok := nextEvent(message); ok; e, rest, ok = nextEvent(rest) {
			if !yield(e) {
				return
			}
		}
	}
}

var head = []byte(payloadHead)

// nextEvent finds the first payload in text, and returns what follows its
// head. ok is false when there is none.
func nextEvent(text []byte) (e Event, rest []byte, ok bool) {
	for {
		i := bytes.Index(text, head)
		if i < 0 {
			return Event{}, nil, false
		}
		text = text[i+len(head):]
		number, after, found := cutInt(text)
		if !found {
			continue
		}
		if after, found = cutText(after, payloadTopic); !found {
			continue
		}
		topic, after, found := cutInt(after)
		if !found {
			continue
		}
		if after, found = cutText(after, payloadAt); !found {
			continue
		}
		at, after, found := cutInt(after)
		if !found {
			continue
		}
		return Event{int(topic), number, at}, after, true
	}
}

// cutText is bytes.CutPrefix without making a slice of the prefix.
func cutText(text []byte, prefix string) (rest []byte, ok bool) {
	if len(text) < len(prefix) || string(text[:len(prefix)]) != prefix {
		return text, false
	}
	return text[len(prefix):], true
}

// maxDigits keeps a number within an int64.
const maxDigits = 18 + 1

// cutInt reads the digits that text begins with.
func cutInt(text []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(text) && i < maxDigits && text[i]-'0' <= 9 {
		n = n*10 + int64(text[i]-'0')
		i++
	}
	return n, text[i:], i > 0 && n >= 0
}
