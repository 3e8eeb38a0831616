package cluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// hello is what each node tells the others of itself, every second.
//
// It names the nodes that it has heard of. Who finds its own id among them knows that
// the other has spoken since it began itself: whoever replays what he has heard, signed
// as it is, cannot make up a node that has gone, nor have one's old messages count.
type hello struct {
	Node  Node     `json:"node"`
	Hears []string `json:"hears"`         // ids
	Bye   bool     `json:"bye,omitempty"` // it leaves
}

// Bounds of what hellos have a node remember.
const (
	maxPeers     = 1024
	maxStrangers = 256
	maxLeft      = 8192
	maxName      = 255
)

// members are the other nodes, as one node knows them. It has no lock of its own.
type members struct {
	self      key
	timeout   time.Duration     // after how long a silence one is none any more
	peers     map[key]*peer     // which have been heard to be there now
	leaving   map[key]*peer     // which have said bye: what they sent before may still be on its way to a handler
	strangers map[key]time.Time // heard of, and not yet to have heard of this one
	left      map[key]uint64    // the last number of those that are peers no more
	order     []key             // of left, oldest first
}

// peer is another node.
type peer struct {
	node  Node
	heard time.Time
	first uint64 // number of the hello that it became a peer by: what is older does not count
	hello uint64 // number of its last hello
	high  uint64 // the highest number that came from it
}

func newMembers(self key, timeout time.Duration) *members {
	return &members{self: self, timeout: timeout, peers: map[key]*peer{}, leaving: map[key]*peer{}, strangers: map[key]time.Time{}, left: map[key]uint64{}}
}

// parseHello reads one and holds it to its bounds.
func parseHello(e envelope) (h hello, err error) {
	if err := json.Unmarshal(e.data, &h); err != nil {
		return hello{}, err
	}
	if h.Node.ID != e.from.String() || h.Node.Name == "" || len(h.Node.Name) > maxName || len(h.Node.Version) > maxName || len(h.Hears) > maxPeers+maxStrangers {
		return hello{}, errors.New("it is not of who has sent it, or too large")
	}
	return h, nil
}

// hear takes a hello in. changed tells that the others are not those they were, answer
// that the other node should hear of this one soon, dropped why it counts for nothing.
func (m *members) hear(from key, number uint64, h hello, now time.Time) (changed, answer bool, dropped string) {
	if p, known := m.peers[from]; known {
		if number <= p.hello {
			return false, false, dropRepeated
		}
		if h.Bye {
			p.heard, p.high = now, max(p.high, number)
			m.lose(from)
			if len(m.leaving) < maxPeers {
				m.leaving[from] = p
			}
			return true, false, ""
		}
		changed = p.node != h.Node
		p.node, p.heard, p.hello, p.high = h.Node, now, number, max(p.high, number)
		return changed, false, ""
	}
	if last, left := m.left[from]; left && number <= last {
		return false, false, dropRepeated
	}
	if h.Bye {
		delete(m.strangers, from)
		return false, false, ""
	}
	_, answered := m.strangers[from]
	if !slices.Contains(h.Hears, m.self.String()) {
		if !answered && len(m.strangers) >= maxStrangers {
			return false, false, dropOverflow
		}
		m.strangers[from] = now
		return false, !answered, ""
	}
	if len(m.peers) >= maxPeers {
		return false, false, dropOverflow
	}
	delete(m.strangers, from)
	delete(m.leaving, from)
	m.peers[from] = &peer{node: h.Node, heard: now, first: number, hello: number, high: number}
	return true, !answered, ""
}

// lose forgets a peer, but for the number from which on it may come back.
func (m *members) lose(k key) {
	p := m.peers[k]
	delete(m.peers, k)
	if _, known := m.left[k]; !known {
		if len(m.order) == maxLeft {
			delete(m.left, m.order[0])
			m.order = slices.Delete(m.order, 0, 1)
		}
		m.order = append(m.order, k)
	}
	m.left[k] = p.high
}

// sender is a node whose messages count: a peer, or one that is leaving. nil: there is none.
func (m *members) sender(k key) *peer {
	if p := m.peers[k]; p != nil {
		return p
	}
	return m.leaving[k]
}

// begin notes what has come of each sender up to now, for a new subscription: that is over,
// whoever repeats it.
func (m *members) begin(last map[key]uint64) {
	for k, p := range m.peers {
		last[k] = p.high
	}
	for k, p := range m.leaving {
		last[k] = p.high
	}
}

// sweep forgets those that have been silent for too long, and returns of them those that
// were peers, and those that were leaving.
func (m *members) sweep(now time.Time) (silent, left []key) {
	for k, p := range m.peers {
		if now.Sub(p.heard) >= m.timeout {
			m.lose(k)
			silent = append(silent, k)
		}
	}
	for k, p := range m.leaving {
		if now.Sub(p.heard) >= m.timeout {
			delete(m.leaving, k)
			left = append(left, k)
		}
	}
	for k, heard := range m.strangers {
		if now.Sub(heard) >= m.timeout {
			delete(m.strangers, k)
		}
	}
	return silent, left
}

// nodes are the peers, by name.
func (m *members) nodes() []Node {
	nodes := make([]Node, 0, len(m.peers))
	for _, p := range m.peers {
		nodes = append(nodes, p.node)
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return nodes
}

// hears are the ids of all that are heard of.
func (m *members) hears() []string {
	ids := make([]string, 0, len(m.peers)+len(m.strangers))
	for k := range m.peers {
		ids = append(ids, k.String())
	}
	for k := range m.strangers {
		ids = append(ids, k.String())
	}
	return ids
}
