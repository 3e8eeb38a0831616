package cluster

import (
	"github.com/nats-io/nats.go"
)

const (
	// messageBytes is what a message takes beside its data while it waits.
	messageBytes = 256
	// maxWaiting bounds, in bytes, what waits in front of all subscriptions together.
	maxWaiting = 4 * Pending
	// What nats.go may hold of one subscription, until its callback, which never waits, is
	// called.
	transitMessages, transitBytes = 16 << 10, 4 << 20
)

// inbox is one subscription, and what waits for its handler.
type inbox struct {
	// Immutable after it was made.
	subject string
	hello   bool                          // of nodes that need not be known
	take    func(e envelope, from string) // from is the sender's id, empty of a hello

	// Guarded by NATS.mu.
	sub     *nats.Subscription // nil until settle has made it
	of      *client            // whose sub is
	queue   []wired
	bytes   int            // of queue
	busy    bool           // a goroutine empties it
	over    bool           // it takes in nothing more
	last    map[key]uint64 // number of the last message of each sender
	dropped int            // that nats.go has, as last looked
}

// wired is a message as it came over the wire.
type wired struct{ data []byte }

func (w wired) bytes() int { return len(w.data) + messageBytes }

// unsettle has tend settle subscriptions soon. Call it with mu held.
func (b *NATS) unsettle() {
	select {
	case b.unsettled <- struct{}{}:
	default:
	}
}

// settle has a client bring what goes to the subjects of all inboxes, and nothing else. It
// waits for nats.go, and is called by one goroutine at a time. What a client that has been
// closed cannot do, the next one does.
func (b *NATS) settle(c *client) {
	b.mu.Lock()
	ended := b.ended
	b.ended = nil
	var begin []*inbox
	for _, in := range b.inboxes {
		if in.of != c {
			begin = append(begin, in)
		}
	}
	b.mu.Unlock()
	for _, sub := range ended {
		_ = sub.Unsubscribe() // or its client was closed
	}
	for _, in := range begin {
		sub, err := c.conn.Subscribe(b.prefix+in.subject, func(m *nats.Msg) { b.arrived(in, wired{m.Data}) })
		if err != nil { // it was closed
			return
		}
		_ = sub.SetPendingLimits(transitMessages, transitBytes) // likewise
		b.mu.Lock()
		if in.over {
			b.ended = append(b.ended, sub)
			b.unsettle()
		} else {
			in.sub, in.of, in.dropped = sub, c, 0
		}
		b.mu.Unlock()
	}
}

// arrived queues a message, or drops it, and never waits.
func (b *NATS) arrived(in *inbox, m wired) {
	b.mu.Lock()
	defer b.mu.Unlock()
	size := m.bytes()
	switch {
	case in.over || b.life.Err() != nil:
		return
	case in.bytes > 0 && in.bytes+size > Pending || b.waiting+size > maxWaiting:
		b.alarm.drop(dropOverflow, 1)
		return
	}
	in.queue = append(in.queue, m)
	in.bytes += size
	b.waiting += size
	if !in.busy {
		in.busy = true
		b.working.Go(func() { b.empty(in) })
	}
}

// empty has what waits handled, one after the other.
func (b *NATS) empty(in *inbox) {
	for {
		b.mu.Lock()
		if len(in.queue) == 0 {
			in.busy, in.queue = false, nil
			b.mu.Unlock()
			return
		}
		m := in.queue[0]
		in.queue[0] = wired{}
		in.queue = in.queue[1:]
		in.bytes -= m.bytes()
		b.waiting -= m.bytes()
		b.mu.Unlock()
		b.handle(in, m)
	}
}

// discard forgets what waits in an inbox, which takes in nothing more. Call it with mu
// held.
func (b *NATS) discard(in *inbox) {
	in.over, in.queue = true, nil
	b.waiting -= in.bytes
	in.bytes = 0
}

// handle opens a message and has it handled, if it counts.
func (b *NATS) handle(in *inbox, m wired) {
	e, dropped := b.seal.open(in.subject, m.data)
	if dropped == "" && e.from == b.seal.self {
		return // an echo, by whatever way
	}
	var from string
	if dropped == "" && !in.hello {
		from, dropped = b.accept(in, e)
	}
	if dropped != "" {
		b.alarm.drop(dropped, 1)
		return
	}
	in.take(e, from)
}

// accept tells whether a message counts: whoever has sent it is known to be there, and
// it has not come before. What overtook an earlier one of the same sender to the same
// subject has made that one count for nothing.
func (b *NATS) accept(in *inbox, e envelope) (from, dropped string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.members.sender(e.from)
	if p == nil {
		return "", dropStranger
	}
	last, ok := in.last[e.from]
	if !ok {
		last = p.first
	}
	if e.number <= last || in.over {
		return "", dropRepeated
	}
	in.last[e.from] = e.number
	p.high = max(p.high, e.number)
	return p.node.ID, ""
}
