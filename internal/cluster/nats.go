package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Subjects of the bus's own.
const (
	helloSubject = "ctl"  // each node tells all others of itself
	nodeSubject  = "node" // with a node's id: requests and answers to it
)

const (
	helloEvery = time.Second
	// While this node is new, others may not know yet that it listens.
	firstHellos, firstEvery = 10, 100 * time.Millisecond
	// answerPause is how soon after one hello another answers others' first ones.
	answerPause = 20 * time.Millisecond
	// leaveTimeout bounds how long what was published last is waited for at the end.
	leaveTimeout = time.Second
)

// NATS is the [Bus] over NATS, by a server in this process, which finds those of the other
// nodes, or an outside one. [New] makes it.
//
// What waits in it is bounded: [Pending] bytes to be sent, [Pending] before each
// subscription and four times that before all of them, and in a server of its own
// maxPending for each other node.
type NATS struct {
	// Immutable after New.
	config Config
	alarm  *alarm
	out    *outbox
	hasten chan struct{} // has room for one: sent to, without waiting, when a hello is due

	// Written before Run.
	watchers []func([]Node)
	answers  map[string]func(context.Context, Message) ([]byte, error)

	// Written by Run, before mu is first taken by another goroutine for them.
	seal   *seal
	prefix string        // of all subjects
	url    string        // of NATS; empty: that of this process
	reach  []nats.Option // what a client needs besides

	unsettled chan struct{} // has room for one: sent to, without waiting, when a subscription is to begin or to end

	working sync.WaitGroup // goroutines that have handlers called; added to with mu held, while life lasts

	mu sync.Mutex
	// Guarded by mu.
	client    *client // nil before Run has connected, and at the end
	server    *server.Server
	up        bool            // there is a connection, as last heard
	most      int             // bytes that a message may carry, as last heard
	why       error           // why there is no connection, as last heard
	life      context.Context // of handlers
	end       context.CancelFunc
	members   *members
	changed   chan struct{} // has room for one: sent to, without waiting, when members have changed
	inboxes   []*inbox
	ended     []*nats.Subscription // which the client has still
	waiting   int                  // bytes, in all of them and in requests that are handled
	requests  uint64               // number of the last one
	asking    map[uint64]*asking
	answering map[asked]context.CancelFunc
}

// New returns a bus that connects once it is run. It panics if c.Self is not of [NewNode].
func New(c Config) *NATS {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.NodeTimeout <= 0 {
		c.NodeTimeout = NodeTimeout
	}
	self, ok := parseKey(c.Self.ID)
	if !ok {
		panic("cluster: a node's id is 16 hexadecimal digits, not " + c.Self.ID)
	}
	b := &NATS{
		config:    c,
		alarm:     newAlarm(c.Logger, c.Metrics),
		out:       newOutbox(),
		hasten:    make(chan struct{}, 1),
		answers:   map[string]func(context.Context, Message) ([]byte, error){},
		unsettled: make(chan struct{}, 1),
		most:      MaxData,
		why:       errors.New("not connected yet"),
		members:   newMembers(self, c.NodeTimeout),
		changed:   make(chan struct{}, 1),
		asking:    map[uint64]*asking{},
		answering: map[asked]context.CancelFunc{},
	}
	b.life, b.end = context.WithCancel(context.Background())
	b.inboxes = []*inbox{
		{subject: helloSubject, hello: true, take: b.takeHello},
		{subject: nodeSubject + "." + c.Self.ID, take: b.takeDirect, last: map[key]uint64{}},
	}
	return b
}

// Self implements [Bus].
func (b *NATS) Self() Node { return b.config.Self }

// Nodes implements [Bus].
func (b *NATS) Nodes() []Node {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.members.nodes()
}

// Watch implements [Bus].
func (b *NATS) Watch(changed func([]Node)) { b.watchers = append(b.watchers, changed) }

// Connected implements [Bus].
func (b *NATS) Connected() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.up {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrAway, b.why)
}

// maxData is what a message may carry.
func (b *NATS) maxData() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.most
}

// Publish implements [Bus].
func (b *NATS) Publish(subject string, data []byte) error {
	if err := CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > b.maxData() {
		return ErrTooLarge
	}
	if err := b.Connected(); err != nil {
		return err
	}
	err := b.out.put(subject, data)
	if errors.Is(err, ErrBusy) {
		b.alarm.drop(dropOverflow, 1)
	}
	return err
}

// Subscribe implements [Bus].
func (b *NATS) Subscribe(subject string, handle func(Message)) (end func(), err error) {
	if err := CheckSubject(subject); err != nil {
		return nil, err
	}
	in := &inbox{subject: subject, last: map[key]uint64{}}
	in.take = func(e envelope, from string) { handle(Message{From: from, Data: e.data}) }
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members.begin(in.last)
	b.inboxes = append(b.inboxes, in)
	b.unsettle()
	return func() { b.unsubscribe(in) }, nil
}

func (b *NATS) unsubscribe(in *inbox) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.discard(in)
	b.inboxes = slices.DeleteFunc(b.inboxes, func(other *inbox) bool { return other == in })
	if in.sub != nil {
		b.ended = append(b.ended, in.sub)
		in.sub = nil
		b.unsettle()
	}
}

// Run implements [Bus].
func (b *NATS) Run(ctx context.Context) error {
	installation := b.config.Installation()
	b.seal = newSeal(b.members.self, b.config.Name, installation, b.config.Secret)
	b.prefix = "sluice." + b.config.Name + "." + installation + "."
	if err := b.connect(ctx, installation); err != nil || ctx.Err() != nil {
		b.leave()
		return err
	}
	var helpers sync.WaitGroup
	helpers.Go(b.send)
	beating, stop := context.WithCancel(context.Background())
	helpers.Go(func() { b.beat(beating) })
	helpers.Go(func() { b.tend(beating) })
	b.watch(ctx)
	stop()
	b.out.close(b.hello(true))
	helpers.Wait()
	b.leave()
	return nil
}

// watch tells of changes until ctx ends.
func (b *NATS) watch(ctx context.Context) {
	for told := []Node(nil); ; {
		nodes := b.Nodes()
		if told == nil || !slices.Equal(nodes, told) {
			for _, watcher := range b.watchers {
				watcher(slices.Clone(nodes))
			}
			b.report(told, nodes)
			told = nodes
		}
		select {
		case <-b.changed:
		case <-ctx.Done():
			return
		}
	}
}

// report says in the log which nodes have come and gone.
func (b *NATS) report(before, now []Node) {
	names := func(of, but []Node) (names []string) {
		for _, n := range of {
			if !slices.ContainsFunc(but, func(other Node) bool { return other.ID == n.ID }) {
				names = append(names, n.Name)
			}
		}
		return names
	}
	came, gone := names(now, before), names(before, now)
	if len(came)+len(gone) > 0 {
		b.config.Logger.Info("other nodes have come or gone", "came", came, "gone", gone, "nodes", len(now)+1)
	}
}

// send sends what is published, until the outbox is closed and empty.
func (b *NATS) send() {
	for {
		m, ok := b.out.next()
		if !ok {
			return
		}
		if err := b.current().conn.Publish(b.prefix+m.subject, b.seal.wrap(m.subject, m.number, m.data)); err != nil && m.subject != helloSubject {
			b.alarm.drop(dropAway, 1)
		}
	}
}

// beat says hello to the others, and notices which of them are silent, until ctx ends.
func (b *NATS) beat(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.hasten:
		}
		b.look()
		b.out.hello(b.hello(false))
		next := helloEvery
		if n < firstHellos {
			next = firstEvery
		}
		pause := time.NewTimer(answerPause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		timer.Reset(next - answerPause)
	}
}

// look notices which nodes are silent, and what nats.go has dropped.
func (b *NATS) look() {
	b.mu.Lock()
	defer b.mu.Unlock()
	silent, left := b.members.sweep(time.Now())
	if lost := append(silent, left...); len(lost) > 0 {
		b.alarm.gone[goneSilent].Add(int64(len(silent)))
		b.gone(lost)
		b.forget(lost)
		b.notice()
	}
	for _, in := range b.inboxes {
		if in.sub == nil {
			continue
		}
		if dropped, err := in.sub.Dropped(); err == nil && dropped > in.dropped {
			b.alarm.drop(dropOverflow, int64(dropped-in.dropped))
			in.dropped = dropped
		}
	}
}

// notice has the watchers hear of a change. Call it with mu held.
func (b *NATS) notice() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// hello is what this node says of itself now.
func (b *NATS) hello(bye bool) []byte {
	b.mu.Lock()
	h := hello{Node: b.config.Self, Hears: b.members.hears(), Bye: bye}
	b.mu.Unlock()
	text, err := json.Marshal(h)
	if err != nil {
		panic(fmt.Sprintf("cluster: write a hello: %v", err)) // of strings and a time
	}
	return text
}

// takeHello takes in what another node says of itself.
func (b *NATS) takeHello(e envelope, _ string) {
	h, err := parseHello(e)
	if err != nil {
		b.alarm.drop(dropMalformed, 1)
		return
	}
	b.mu.Lock()
	changed, answer, dropped := b.members.hear(e.from, e.number, h, time.Now())
	if changed {
		if b.members.peers[e.from] == nil {
			b.alarm.gone[goneStopped].Add(1)
			b.gone([]key{e.from})
			if b.members.leaving[e.from] == nil {
				b.forget([]key{e.from})
			}
		}
		b.notice()
	}
	b.mu.Unlock()
	if dropped != "" {
		b.alarm.drop(dropped, 1)
		return
	}
	if changed && h.Node.Name == b.config.Self.Name && !h.Bye {
		b.alarm.warn("another node of the cluster has this node's name: give each a --node of its own", "node", h.Node.Name, "other", h.Node.ID, "started", h.Node.Started)
	}
	if answer {
		select {
		case b.hasten <- struct{}{}:
		default:
		}
	}
}
