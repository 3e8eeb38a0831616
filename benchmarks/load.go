package benchmarks

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Load is who watches what, and what there is to see. With fewer topics than
// sockets, several sockets watch a topic; with more, a socket watches several.
// Every topic is watched.
type Load struct {
	Topics  int // at least 1
	Sockets int // at least 1
	Payload int // bytes of an event's payload, about
}

func (l Load) params() []Param {
	return []Param{{"topics", l.Topics}, {"sockets", l.Sockets}, {"payload_bytes", l.Payload}}
}

func (l Load) validate() error {
	if l.Topics < 1 || l.Sockets < 1 || l.Payload < 0 || l.Payload > maxPayload {
		return fmt.Errorf("benchmarks: %+v: want topics and sockets from 1, a payload of 0 to %d bytes", l, maxPayload)
	}
	return nil
}

// watched lists the topics that a socket watches.
func (l Load) watched(socket int) []int {
	if l.Topics <= l.Sockets {
		return []int{socket % l.Topics}
	}
	var topics []int
	for t := socket; t < l.Topics; t += l.Sockets {
		topics = append(topics, t)
	}
	return topics
}

// share is how many of the events go to a topic: event i goes to topic
// i % Topics, and is its event i / Topics.
func (l Load) share(topic int, events int64) int64 {
	return (events - int64(topic) + int64(l.Topics) - 1) / int64(l.Topics)
}

// deliveries is how many there are to be when each event reaches all its
// watchers.
func (l Load) deliveries(events int64) (n int64) {
	for s := range l.Sockets {
		for _, t := range l.watched(s) {
			n += l.share(t, events)
		}
	}
	return n
}

// What is on the wire, in parts that clients know in advance.
const (
	topicPrefix = "bench:"
	eventName   = "tick"
	// maxPayload keeps an event's frame within a client's buffer.
	maxPayload = 8 << 10
)

func topicName(topic int) string { return topicPrefix + strconv.Itoa(topic) }

// appendPayload appends an event's payload: its number within the topic, when
// its insert began (Unix nanoseconds, 0 for nobody asks), and padding.
func (l Load) appendPayload(dst []byte, number int64, at time.Time) []byte {
	dst = strconv.AppendInt(append(dst, `{"n":`...), number, 10)
	var stamp int64
	if !at.IsZero() {
		stamp = at.UnixNano()
	}
	dst = strconv.AppendInt(append(dst, `,"at":`...), stamp, 10)
	return append(append(append(dst, `,"pad":"`...), l.padding()...), `"}`...)
}

// padding fills a payload up to its size, as far as that can be known.
func (l Load) padding() string {
	const rest = len(`{"n":1234,"at":0,"pad":""}`)
	return strings.Repeat("x", max(0, l.Payload-rest))
}
