package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"
)

// NewNode is this process from now on, as a node of that name.
func NewNode(name, version string) Node {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return Node{ID: hex.EncodeToString(id[:]), Name: name, Version: version, Started: time.Now().UTC().Truncate(time.Millisecond)}
}

// None is the [Bus] of a node that is alone: there are no others, so that all of them
// are told whatever is published, and it is never away. [NewNone] makes one.
type None struct {
	self     Node
	watchers []func([]Node) // written before Run
}

// NewNone returns the bus of a node that is alone.
func NewNone(self Node) *None { return &None{self: self} }

// Self implements [Bus].
func (n *None) Self() Node { return n.self }

// Nodes implements [Bus]: there are none.
func (n *None) Nodes() []Node { return nil }

// Watch implements [Bus].
func (n *None) Watch(changed func([]Node)) { n.watchers = append(n.watchers, changed) }

// Publish implements [Bus].
func (n *None) Publish(_ string, data []byte) error {
	if len(data) > MaxData {
		return ErrTooLarge
	}
	return nil
}

// Subscribe implements [Bus].
func (n *None) Subscribe(string, func(Message)) (end func(), err error) { return func() {}, nil }

// Answer implements [Bus].
func (n *None) Answer(string, func(context.Context, Message) ([]byte, error)) {}

// Request implements [Bus]: no node is known.
func (n *None) Request(context.Context, string, string, []byte) ([]byte, error) {
	return nil, ErrUnknownNode
}

// RequestAll implements [Bus].
func (n *None) RequestAll(context.Context, string, []byte) []Reply { return nil }

// Connected implements [Bus].
func (n *None) Connected() error { return nil }

// Run implements [Bus].
func (n *None) Run(ctx context.Context) error {
	for _, changed := range n.watchers {
		changed(nil)
	}
	<-ctx.Done()
	return nil
}
