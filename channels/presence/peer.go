package presence

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// Bounds of what is kept of other nodes, beside their presences.
const (
	maxPeers  = 1024
	maxQueued = 16 << 20 // bytes of messages that wait while a node's presences are fetched
)

// logEvery is how often the log says that a node cannot be read.
const logEvery = 10 * time.Second

// Join has the tracker know the presences of other nodes, and them know its own. Call it
// before Run, and before anything is tracked.
func (t *Tracker) Join(bus Bus) error {
	id, name := bus.Self()
	origin, ok := originOf(id)
	if !ok {
		return errGarbled
	}
	t.bus, t.origin, t.name = bus, origin, name
	bus.Answer(t.answer)
	return nil
}

// originOf is the first half of the refs that a node gives.
func originOf(id string) (origin uint64, ok bool) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(raw) & (1<<refBits - 1), true
}

// peer is another node, in one of its lives, and the presences that it keeps. The
// tracker's mu guards it.
type peer struct {
	id, name string
	origin   uint64
	members  map[uint64]*remote
	heard    time.Time
	state    peerState
	until    time.Time // parting: when its presences leave; silent: when it is forgotten
	seq      uint64    // of the last message that is in members
	whole    bool      // nothing is missing of what it has sent up to seq

	// While its presences are fetched.
	fetching bool
	queue    []packet // what came meanwhile
	queued   int      // bytes of it
	retry    time.Time
	failures int
	short    bool // some of its presences were left out for Config.Max
}

// remote is a presence that another node keeps.
type remote struct {
	member
	view *view // what is seen of it unless its node is silent
}

// peerState is what is known of a node.
//
//	heard  --nothing for SilentAfter-->  silent  --Permdown-->  (forgotten)
//	heard  --it says goodbye-->          parting --Grace-->     (forgotten)
//	silent --it is heard-->              heard
//	any    --another life of it is heard, unless parting-->     (forgotten)
type peerState uint8

const (
	heard peerState = iota
	silent
	parting
)

// receive takes in a message of another node.
func (t *Tracker) receive(from string, data []byte) {
	origin, ok := originOf(from)
	p, invalid, err := readPacket(data)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counters.invalid.Add(int64(invalid))
	switch {
	case !ok || err != nil || p.kind == kindSnapshot || p.kind == kindLast:
		t.reject(from, err)
		return
	case origin == t.origin:
		return // another network's echo
	}
	n := t.peers[from]
	if n == nil {
		if n = t.meet(from, p.name, origin); n == nil {
			return
		}
	}
	now := time.Now()
	n.heard = now
	if n.state == parting {
		return // all that it still says is that its sockets close
	}
	if n.fetching {
		t.enqueue(n, p, len(data))
	} else {
		t.take(n, p)
	}
	switch {
	case p.kind == kindBye:
		t.part(n, now)
	case n.state == silent && n.whole:
		n.state = heard
		for _, m := range n.members {
			t.show(&m.member, m.view)
		}
	}
}

// reject counts what cannot be read, and says so now and then. Called with mu held.
func (t *Tracker) reject(from string, err error) {
	counter := t.counters.garbled
	if errors.Is(err, errVersion) {
		counter = t.counters.version
	}
	counter.Add(1)
	if now := time.Now(); now.Sub(t.rejected) >= logEvery {
		t.rejected = now
		t.logger.Warn("a node's presences cannot be read, and are not shown here", "node", from, "error", err,
			"hint", "run the same version on all nodes of the cluster")
	}
}

// meet begins to know a node, in place of another life of it. Called with mu held.
func (t *Tracker) meet(id, name string, origin uint64) *peer {
	for _, other := range t.peers {
		if other.name == name && other.state != parting {
			t.lose(other)
		}
	}
	if len(t.peers) >= maxPeers {
		t.counters.overfull.Add(1)
		return nil
	}
	n := &peer{id: id, name: name, origin: origin, members: make(map[uint64]*remote)}
	t.peers[id] = n
	return n
}

// take makes a message's changes, if it is the next, or has all of a node's presences
// fetched if some are missing. Called with mu held.
func (t *Tracker) take(n *peer, p packet) {
	switch {
	case p.seq < n.seq, p.kind == kindOps && p.seq == n.seq:
		if n.whole { // it has come twice
			return
		}
	case !n.whole:
	case p.kind == kindOps && p.seq == n.seq+1:
		n.seq = p.seq
		for i := range p.ops {
			t.apply(n, &p.ops[i])
		}
		return
	case p.kind != kindOps && p.seq == n.seq:
		return
	}
	n.whole = false
	t.fetchSoon(n)
	if n.fetching && p.kind == kindOps {
		t.enqueue(n, p, 0)
	}
}

// apply makes a change. Called with mu held.
func (t *Tracker) apply(n *peer, o *op) {
	m := n.members[o.n]
	switch {
	case o.kind == opLeave:
		if m != nil {
			t.remove(n, o.n, m)
		}
		return
	case m == nil && o.kind == opUpdate:
		return // there was no room for it, or it has left since
	case m == nil:
		if !t.roomy() {
			n.short = true
			t.counters.overfull.Add(1)
			return
		}
		t.held++
		m = &remote{}
		m.topic, m.at = t.topicNamed(o.topic), -1
		m.view = &view{key: o.key, id: ref{n.origin, o.n}}
		n.members[o.n] = m
	}
	if m.view.ref.n >= o.ref {
		return // it was fetched as it was later
	}
	m.view = &view{key: m.view.key, meta: o.meta, id: m.view.id, ref: ref{n.origin, o.ref}}
	if n.state == heard {
		t.show(&m.member, m.view)
	}
}

// roomy tells whether there may be one presence more. What is only kept of nodes that are
// silent gives way. Called with mu held.
func (t *Tracker) roomy() bool {
	if t.held >= t.config.Max {
		t.forgetSilent()
	}
	return t.held < t.config.Max
}

// forgetSilent forgets the nodes that are silent. Called with mu held.
func (t *Tracker) forgetSilent() {
	for _, n := range t.peers {
		if n.state == silent && time.Since(n.heard) > SilentAfter { // not one that is about to be back
			t.lose(n)
		}
	}
}

// remove forgets a presence. Called with mu held.
func (t *Tracker) remove(n *peer, first uint64, m *remote) {
	delete(n.members, first)
	t.held--
	t.show(&m.member, nil)
}

// lose forgets a node with its presences. Called with mu held.
func (t *Tracker) lose(n *peer) {
	for first, m := range n.members {
		if n.state == parting {
			m.topic.stay(&m.member, m.view.key)
		}
		t.remove(n, first, m)
	}
	delete(t.peers, n.id)
}

// part has a node's presences stay until it is over, and those who come with the same
// keys take their places. Called with mu held.
func (t *Tracker) part(n *peer, now time.Time) {
	n.state, n.until = parting, now.Add(Grace)
	n.queue, n.queued = nil, 0
	for _, m := range n.members {
		if m.now != nil {
			m.topic.leaves(&m.member)
		}
	}
}

// leaves notes that a member is going to leave with its node.
func (tp *topic) leaves(m *member) {
	if tp.leaving == nil {
		tp.leaving = make(map[string][]*member)
	}
	tp.leaving[m.now.key] = append(tp.leaving[m.now.key], m)
}

// stay takes that back.
func (tp *topic) stay(m *member, key string) {
	list := tp.leaving[key]
	for i, each := range list {
		if each == m {
			if list = append(list[:i:i], list[i+1:]...); len(list) == 0 {
				delete(tp.leaving, key)
			} else {
				tp.leaving[key] = list
			}
			return
		}
	}
}

// look sees what time has brought to the other nodes.
func (t *Tracker) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	short := false
	for _, n := range t.peers {
		short = short || n.short
	}
	if short {
		t.forgetSilent()
	}
	room := t.held < t.config.Max-t.config.Max/10
	for _, n := range t.peers {
		switch {
		case n.state != heard && now.After(n.until):
			t.lose(n)
		case n.state == heard && now.Sub(n.heard) > SilentAfter:
			n.state, n.until = silent, now.Add(t.config.Permdown)
			for _, m := range n.members {
				t.show(&m.member, nil)
			}
		case n.short && room && n.state == heard:
			n.short, n.whole = false, false
			t.fetchSoon(n)
		case !n.whole && n.state != parting && now.Sub(n.heard) <= SilentAfter:
			t.fetchSoon(n)
		}
	}
}
