package presence

import (
	"context"
	"time"
)

// Bus reaches the trackers of the other nodes. It may lose messages, repeat them and
// delay them, but keeps the order of those of one node. The front door makes it of the
// cluster's.
type Bus interface {
	// Self is this node: an id of 16 hexadecimal digits, random at each start, and the
	// name that it keeps.
	Self() (id, name string)

	// Publish sends a message to all others, and does not wait for them.
	Publish(data []byte) error

	// Subscribe has receive called with the messages of others, one after the other,
	// until end is called. receive keeps nothing of data.
	Subscribe(receive func(from string, data []byte)) (end func(), err error)

	// Answer has answer called for requests, concurrently.
	Answer(answer func(data []byte) ([]byte, error))

	// Request asks a node, and waits for its answer until ctx ends.
	Request(ctx context.Context, node string, data []byte) ([]byte, error)
}

// Times, of what nodes tell each other.
const (
	// SilentAfter is how long a node may be silent until its presences leave.
	SilentAfter = 3 * beatLooks * lookEvery
	// Grace is for how long the presences of a node that shuts down stay.
	Grace = 5 * time.Second

	lookEvery    = 500 * time.Millisecond // how often the other nodes are looked at
	beatLooks    = 3                      // a beat is sent with every so many looks
	fetchTimeout = 5 * time.Second        // for one piece of what another node has
	leastRetry   = 500 * time.Millisecond // until a fetch that failed is tried again; doubled each time
	mostRetry    = 10 * time.Second
)

// publish tells the other nodes what has become of this one's presences since the last
// time.
func (t *Tracker) publish() {
	t.sending.Lock()
	defer t.sending.Unlock()
	for _, data := range t.ops() {
		// What is lost, or not sent at all, is missed by its number.
		_ = t.bus.Publish(data)
	}
}

// ops are the messages that publish sends.
func (t *Tracker) ops() (messages [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var ops []byte
	count := 0
	cut := func() {
		if count == 0 {
			return
		}
		t.seq++
		messages = append(messages, append(appendPacket(nil, kindOps, t.name, t.seq, count), ops...))
		ops, count = ops[:0], 0
	}
	for _, p := range t.unsent {
		p.unsent = false
		if p.published == p.last {
			continue
		}
		if t.bus != nil && !t.leaving {
			ops = appendOp(ops, p.topic.name, p.published, p.last)
			count++
		}
		p.published = p.last
		if len(ops) >= maxPacket {
			cut()
		}
	}
	cut()
	clear(t.unsent)
	t.unsent = t.unsent[:0]
	return messages
}

// beat tells the other nodes that this one lives, and what it has sent.
func (t *Tracker) beat() { t.say(kindBeat, false) }

// Leave tells the other nodes that this one shuts down: its presences stay for [Grace],
// whatever becomes of them here. Without other nodes it does nothing.
func (t *Tracker) Leave() {
	if t.bus == nil {
		return
	}
	t.publish()
	t.say(kindBye, true)
}

// say sends a message without ops, unless this node has said goodbye.
func (t *Tracker) say(kind byte, leaving bool) {
	t.sending.Lock()
	defer t.sending.Unlock()
	t.mu.Lock()
	silent := t.leaving
	t.leaving = t.leaving || leaving
	data := appendPacket(nil, kind, t.name, t.seq, 0)
	t.mu.Unlock()
	if !silent {
		_ = t.bus.Publish(data) // a beat that is lost is followed by another; after a goodbye, silence says the same
	}
}
