package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// handler answers requests of a kind.
type handler func(ctx context.Context, m cluster.Message) ([]byte, error)

// bus is a node's connection with a [Net].
type bus struct {
	net  *Net
	self cluster.Node

	// Written before Run.
	answers  map[string]handler
	watchers []func([]cluster.Node)

	working sync.WaitGroup // goroutines that handle something; added to with net.mu held, while run

	// Guarded by net.mu.
	life          context.Context // of handlers; nil before Run
	end           context.CancelFunc
	subscriptions []*subscription
	known         map[*bus]time.Duration // others, and when they were last heard, by the network's clock
	changed       chan struct{}          // closed, and made anew, when known has changed, or this has ended
}

// subscription is what one node wants to hear.
type subscription struct {
	subject string
	handle  func(cluster.Message)

	// Guarded by net.mu.
	queue []cluster.Message
	bytes int
	busy  bool // a goroutine handles what is queued
	over  bool
}

func newBus(n *Net, name string, number int) *bus {
	return &bus{
		net: n,
		self: cluster.Node{
			ID: fmt.Sprintf("%016x", number), Name: name, Version: "test",
			Started: time.Date(2020, 1, 1, 0, 0, number, 0, time.UTC),
		},
		answers: map[string]handler{},
		known:   map[*bus]time.Duration{},
		changed: make(chan struct{}),
	}
}

// Self implements [cluster.Bus].
func (b *bus) Self() cluster.Node { return b.self }

// Watch implements [cluster.Bus].
func (b *bus) Watch(changed func([]cluster.Node)) { b.watchers = append(b.watchers, changed) }

// Answer implements [cluster.Bus].
func (b *bus) Answer(kind string, handle func(context.Context, cluster.Message) ([]byte, error)) {
	b.answers[kind] = handle
}

// Run implements [cluster.Bus].
func (b *bus) Run(ctx context.Context) error {
	b.net.change(func() {
		b.life, b.end = context.WithCancel(context.Background())
		b.net.running = append(b.net.running, b)
	})
	for first, told := true, []cluster.Node(nil); ; {
		nodes, changed := b.look()
		if first || !slices.Equal(nodes, told) {
			for _, watcher := range b.watchers {
				watcher(slices.Clone(nodes))
			}
			first, told = false, nodes
		}
		select {
		case <-changed:
			continue
		case <-ctx.Done():
		}
		break
	}
	b.net.change(func() {
		for _, other := range b.net.running {
			if b.net.hears(b, other) {
				other.lose(b)
			}
		}
		b.net.drop(b)
	})
	b.working.Wait()
	return nil
}

// look returns the other nodes, by name, and what is closed when they have changed.
func (b *bus) look() ([]cluster.Node, chan struct{}) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	var nodes []cluster.Node
	for other := range b.known {
		nodes = append(nodes, other.self)
	}
	slices.SortFunc(nodes, func(x, y cluster.Node) int { return strings.Compare(x.Name+x.ID, y.Name+y.ID) })
	return nodes, b.changed
}

// Nodes implements [cluster.Bus].
func (b *bus) Nodes() []cluster.Node {
	nodes, _ := b.look()
	return nodes
}

// hear notes that another node is there. Call it with net.mu held, as what follows.
func (b *bus) hear(other *bus, now time.Duration) {
	if _, known := b.known[other]; !known {
		defer b.wake()
	}
	b.known[other] = now
}

// forget drops those that were not heard for too long.
func (b *bus) forget(now time.Duration) {
	for other, heard := range b.known {
		if now-heard >= cluster.NodeTimeout {
			b.lose(other)
		}
	}
}

func (b *bus) lose(other *bus) {
	if _, known := b.known[other]; known {
		delete(b.known, other)
		b.wake()
	}
}

func (b *bus) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// stopped ends what the bus does.
func (b *bus) stopped() {
	if b.life == nil {
		return
	}
	b.end()
	for _, s := range b.subscriptions {
		s.queue = nil
	}
	clear(b.known)
	b.wake()
}

// Connected implements [cluster.Bus].
func (b *bus) Connected() error {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	return b.connected()
}

// connected is Connected with net.mu held.
func (b *bus) connected() error {
	if !slices.Contains(b.net.running, b) || b.net.away[b.self.Name] {
		return cluster.ErrAway
	}
	return nil
}

// Publish implements [cluster.Bus].
func (b *bus) Publish(subject string, data []byte) error {
	if err := cluster.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > cluster.MaxData {
		return cluster.ErrTooLarge
	}
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	if err := b.connected(); err != nil {
		return err
	}
	data = bytes.Clone(data)
	for _, to := range slices.Clone(b.net.running) {
		b.net.send(b, to, subject, func() {
			for _, s := range slices.Clone(to.subscriptions) {
				if s.subject == subject {
					to.queue(s, cluster.Message{From: b.self.ID, Data: bytes.Clone(data)})
				}
			}
		})
	}
	return nil
}

// Subscribe implements [cluster.Bus].
func (b *bus) Subscribe(subject string, handle func(cluster.Message)) (end func(), err error) {
	if err := cluster.CheckSubject(subject); err != nil {
		return nil, err
	}
	s := &subscription{subject: subject, handle: handle}
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.subscriptions = append(b.subscriptions, s)
	return func() {
		b.net.mu.Lock()
		defer b.net.mu.Unlock()
		s.over, s.queue = true, nil
		b.subscriptions = slices.DeleteFunc(b.subscriptions, func(other *subscription) bool { return other == s })
	}, nil
}

// queue has a subscription handle a message in its turn, or loses it. Call it with
// net.mu held.
func (b *bus) queue(s *subscription, m cluster.Message) {
	if s.bytes+len(m.Data) > cluster.Pending && len(s.queue) > 0 {
		return
	}
	s.queue = append(s.queue, m)
	s.bytes += len(m.Data)
	if s.busy {
		return
	}
	s.busy = true
	b.net.busy++
	b.working.Go(func() {
		for {
			b.net.mu.Lock()
			if len(s.queue) == 0 {
				s.busy, s.bytes = false, 0
				b.net.busy--
				b.net.quiet.Broadcast()
				b.net.mu.Unlock()
				return
			}
			m := s.queue[0]
			s.queue = s.queue[1:]
			s.bytes -= len(m.Data)
			b.net.mu.Unlock()
			s.handle(m)
		}
	})
}

// Request implements [cluster.Bus].
func (b *bus) Request(ctx context.Context, node, kind string, data []byte) ([]byte, error) {
	if len(data) > cluster.MaxData {
		return nil, cluster.ErrTooLarge
	}
	answered := make(chan cluster.Reply, 1) // from the first answer that arrives
	b.net.mu.Lock()
	if err := b.connected(); err != nil {
		b.net.mu.Unlock()
		return nil, err
	}
	var to *bus
	for other := range maps.Keys(b.known) {
		if other.self.ID == node {
			to = other
		}
	}
	if to == nil {
		b.net.mu.Unlock()
		return nil, cluster.ErrUnknownNode
	}
	data = bytes.Clone(data)
	b.net.send(b, to, kind, func() { to.answer(ctx, b, kind, bytes.Clone(data), answered) })
	b.net.mu.Unlock()
	for {
		nodes, changed := b.look()
		gone := !slices.ContainsFunc(nodes, func(n cluster.Node) bool { return n.ID == node })
		select {
		case reply := <-answered:
			return reply.Data, reply.Err
		default:
		}
		switch {
		case b.Connected() != nil:
			return nil, cluster.ErrAway
		case gone:
			return nil, cluster.ErrUnknownNode
		}
		select {
		case reply := <-answered:
			return reply.Data, reply.Err
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// answer has a request of another node handled, in a goroutine of its own. Call it with
// net.mu held, while this node runs.
func (b *bus) answer(asked context.Context, from *bus, kind string, data []byte, answered chan<- cluster.Reply) {
	handle := b.answers[kind]
	if handle == nil {
		handle = func(context.Context, cluster.Message) ([]byte, error) {
			return nil, errors.New("requests of the kind " + kind + " are not answered here")
		}
	}
	life := b.life
	b.working.Go(func() {
		ctx, cancel := context.WithCancel(asked)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		answer, err := handle(ctx, cluster.Message{From: from.self.ID, Data: data})
		reply := cluster.Reply{Data: bytes.Clone(answer)}
		switch {
		case err != nil:
			reply = cluster.Reply{Err: &cluster.RemoteError{Node: b.self.Name, Text: err.Error()}}
		case len(answer) > cluster.MaxData:
			reply = cluster.Reply{Err: &cluster.RemoteError{Node: b.self.Name, Text: cluster.ErrTooLarge.Error()}}
		}
		b.net.mu.Lock()
		defer b.net.mu.Unlock()
		b.net.send(b, from, "answer", func() {
			select {
			case answered <- reply:
			default:
			}
		})
	})
}

// RequestAll implements [cluster.Bus].
func (b *bus) RequestAll(ctx context.Context, kind string, data []byte) []cluster.Reply {
	nodes := b.Nodes()
	replies := make([]cluster.Reply, len(nodes))
	var asking sync.WaitGroup
	for i, node := range nodes {
		asking.Go(func() {
			answer, err := b.Request(ctx, node.ID, kind, data)
			replies[i] = cluster.Reply{Node: node, Data: answer, Err: err}
		})
	}
	asking.Wait()
	return replies
}
