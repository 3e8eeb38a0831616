package clustertest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// Faults are what a network does to messages, requests and answers included; each share
// is from 0, none, to 1, all. Reorder is beyond what a [cluster.Bus] may do.
type Faults struct {
	Drop    float64       // are lost
	Repeat  float64       // come twice
	Reorder float64       // come after the next one of the same node and subject, or at the next Advance
	Delay   time.Duration // each takes up to so long, by the network's clock
}

// Net is a network in memory. Its methods may be called concurrently.
type Net struct {
	t testing.TB

	mu      sync.Mutex
	quiet   *sync.Cond // with mu: something has been handled
	random  *rand.Rand
	faults  Faults
	now     time.Duration // by its clock
	joined  int           // buses so far, which give their ids
	running []*bus
	cut     map[[2]string]bool // pairs of names, in order
	away    map[string]bool    // names of those that have no bus
	flows   map[flow]*flowing
	flying  []*parcel // delayed, by when they are due
	busy    int       // subscriptions with something queued or at work
}

// flow is what keeps its order.
type flow struct {
	from, to *bus
	subject  string
}

type flowing struct {
	due  time.Duration // of the last that was sent
	held *parcel       // which comes after the next one
}

// parcel is a message on its way.
type parcel struct {
	due     time.Duration
	deliver func() // called with mu held; does not block
}

// NewNet returns a network that works without faults. Those that are set later strike
// by the seed.
func NewNet(t testing.TB, seed uint64) *Net {
	n := &Net{
		t: t, random: rand.New(rand.NewPCG(seed, seed)),
		cut: map[[2]string]bool{}, away: map[string]bool{}, flows: map[flow]*flowing{},
	}
	n.quiet = sync.NewCond(&n.mu)
	return n
}

// Join returns a bus that connects a node of that name with the others of the network,
// while it is run.
func (n *Net) Join(name string) cluster.Bus {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.joined++
	return newBus(n, name, n.joined)
}

// SetFaults has messages from now on suffer these faults, and no others.
func (n *Net) SetFaults(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
}

// Cut has two nodes not hear each other any more. They notice after
// [cluster.NodeTimeout] of the network's clock.
func (n *Net) Cut(a, b string) { n.change(func() { n.cut[pair(a, b)] = true }) }

// Away takes the bus away from a node: what it sends is refused, and it hears nothing.
func (n *Net) Away(name string) { n.change(func() { n.away[name] = true }) }

// Heal ends all cuts, and gives the bus back to those it was away from.
func (n *Net) Heal() { n.change(func() { clear(n.cut); clear(n.away) }) }

// Kill ends the buses of a name as a crash does: others hear nothing of it, and notice
// after [cluster.NodeTimeout]. Run returns nil once its context has ended, too.
func (n *Net) Kill(name string) {
	n.change(func() {
		for _, b := range slices.Clone(n.running) {
			if b.self.Name == name {
				n.drop(b)
			}
		}
	})
}

// Advance moves the network's clock, delivers what is due, and what was held back to be
// out of order.
func (n *Net) Advance(d time.Duration) {
	n.change(func() {
		n.now += d
		for _, f := range n.flows {
			if f.held != nil {
				n.fly(f.held)
				f.held = nil
			}
		}
		for len(n.flying) > 0 && n.flying[0].due <= n.now {
			due := n.flying[0]
			n.flying = n.flying[1:]
			due.deliver()
		}
	})
}

// Settle waits until each message that has arrived was handled, and those that were
// published by handlers. Requests are not waited for.
func (n *Net) Settle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.busy > 0 {
		n.quiet.Wait()
	}
}

// change changes what nodes can hear, and has them notice.
func (n *Net) change(do func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listen() // those that hear each other do so up to now
	do()
	n.listen()
	for _, b := range n.running {
		b.wake()
	}
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// hears tells whether what from sends reaches to. Call it with mu held.
func (n *Net) hears(from, to *bus) bool {
	return from != to && slices.Contains(n.running, from) && slices.Contains(n.running, to) &&
		!n.away[from.self.Name] && !n.away[to.self.Name] && !n.cut[pair(from.self.Name, to.self.Name)]
}

// listen has each node hear the others, and forget those that it has not heard for long.
// Call it with mu held.
func (n *Net) listen() {
	for _, to := range n.running {
		for _, from := range n.running {
			if n.hears(from, to) {
				to.hear(from, n.now)
			}
		}
		to.forget(n.now)
	}
}

// drop ends a bus for all. Call it with mu held.
func (n *Net) drop(b *bus) {
	n.running = slices.DeleteFunc(n.running, func(other *bus) bool { return other == b })
	for key := range n.flows {
		if key.from == b || key.to == b {
			delete(n.flows, key)
		}
	}
	b.stopped()
}

// send brings a message on its way, through the faults. Call it with mu held.
func (n *Net) send(from, to *bus, subject string, deliver func()) {
	if !n.hears(from, to) || n.random.Float64() < n.faults.Drop {
		return
	}
	key := flow{from, to, subject}
	f := n.flows[key]
	if f == nil {
		f = &flowing{}
		n.flows[key] = f
	}
	deliverIfHeard := func() {
		if n.hears(from, to) {
			deliver()
		}
	}
	times := 1
	if n.random.Float64() < n.faults.Repeat {
		times = 2
	}
	for range times {
		p := &parcel{due: n.now, deliver: deliverIfHeard}
		if n.faults.Delay > 0 {
			p.due += time.Duration(n.random.Int64N(int64(n.faults.Delay) + 1))
		}
		f.due = max(f.due, p.due)
		p.due = f.due
		if f.held == nil && n.random.Float64() < n.faults.Reorder {
			f.held = p
			continue
		}
		n.fly(p)
		if f.held != nil {
			f.held.due = p.due
			n.fly(f.held)
			f.held = nil
		}
	}
}

// fly delivers a parcel, now or when it is due. Call it with mu held.
func (n *Net) fly(p *parcel) {
	if p.due <= n.now {
		p.deliver()
		return
	}
	at, _ := slices.BinarySearchFunc(n.flying, p, func(other, p *parcel) int {
		return cmp.Or(cmp.Compare(other.due, p.due), -1) // after those that are due then
	})
	n.flying = slices.Insert(n.flying, at, p)
}
