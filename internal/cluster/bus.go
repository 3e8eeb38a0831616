package cluster

import (
	"context"
	"errors"
	"time"
)

// Node is one process of the cluster, from its start to its end. A node that is
// started again has the same name and another id.
type Node struct {
	ID      string    `json:"id"`      // 16 hexadecimal digits, random: of this life of the process
	Name    string    `json:"name"`    // what --node says
	Version string    `json:"version"` // of the program
	Started time.Time `json:"started"`
}

// Message is what a handler gets. Data is its own until it returns; who keeps it
// copies it.
type Message struct {
	From string // the id of the node that sent it
	Data []byte
}

// Bus connects this process with the other nodes of its installation. Its methods may
// be called concurrently.
type Bus interface {
	// Self is this process as the others see it.
	Self() Node

	// Nodes are the others that have been heard of within [NodeTimeout], by name.
	Nodes() []Node

	// Watch has changed called after each change of Nodes, and once at the beginning:
	// by one goroutine at a time, that of Run. Call it before Run.
	Watch(changed func(nodes []Node))

	// Publish sends data to every other node that has subscribed to the subject. It
	// returns without waiting for them: nil says only that the bus has taken it. It
	// returns ErrAway while there is no bus, ErrTooLarge beyond MaxData, and ErrBusy when
	// more waits to be sent than [Pending].
	Publish(subject string, data []byte) error

	// Subscribe has handle called with what other nodes publish to the subject from now
	// on, by one goroutine at a time for each subscription. Other nodes hear of the
	// interest a little later, so the first messages may be missed. What arrives while
	// handle runs waits, up to [Pending] bytes; what is beyond that is lost and counted.
	// The function that is returned ends the subscription; it does not wait for a handle
	// that runs. Subscriptions outlive a bus that is away for a while. It fails only for what
	// is no subject.
	Subscribe(subject string, handle func(Message)) (end func(), err error)

	// Answer has requests of that kind answered: handle is called concurrently, with a
	// context that ends when whoever asks no longer waits, and returns the answer, or an
	// error whose text the other gets as a [*RemoteError]. Call it before Run.
	Answer(kind string, handle func(ctx context.Context, m Message) ([]byte, error))

	// Request asks the node with that id, and waits for its answer until ctx ends. Its
	// error wraps ErrAway, ErrUnknownNode (also when the node goes meanwhile), ErrTooLarge,
	// ErrBusy (also when the other node has too much to do, and has done nothing), a
	// [*RemoteError], or ctx's.
	Request(ctx context.Context, node, kind string, data []byte) ([]byte, error)

	// RequestAll asks all other nodes at once, and returns what those have answered that
	// did so before ctx ended: one [Reply] for each of Nodes, by name.
	RequestAll(ctx context.Context, kind string, data []byte) []Reply

	// Connected is nil while messages can be sent, and else says why not.
	Connected() error

	// Run connects, keeps connected, and returns nil once ctx has ended and all is
	// closed. A mistake of the configuration that shows only then, such as an address
	// that is in use, is returned at once.
	Run(ctx context.Context) error
}

// Reply is one node's answer to [Bus.RequestAll].
type Reply struct {
	Node Node
	Data []byte
	Err  error // instead of Data: as [Bus.Request] returns it
}

// Bounds.
const (
	// MaxData is what one message may carry, in bytes.
	MaxData = 768 << 10
	// Pending is what may wait in front of one subscription, in bytes.
	Pending = 16 << 20
	// NodeTimeout is after how long a silence a node is no longer one of Nodes.
	NodeTimeout = 3 * time.Second
)

// Errors of [Bus].
var (
	ErrAway        = errors.New("the cluster's bus is away")
	ErrUnknownNode = errors.New("no such node is in the cluster")
	ErrTooLarge    = errors.New("a message is larger than the cluster's bus carries")
	ErrBusy        = errors.New("more waits on the cluster's bus, or is under way at a node, than is taken in: try again")
)

// RemoteError is what the handler of another node has returned.
type RemoteError struct {
	Node string // its name
	Text string
}

func (e *RemoteError) Error() string { return "node " + e.Node + ": " + e.Text }

// NewService is func(sluice.Config, Bus) (*sluice.Service, error), which the front door
// sets: a service on a bus that a test has made. Nothing but tests calls it.
var NewService any
