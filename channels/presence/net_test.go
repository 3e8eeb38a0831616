package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// network is a bus in memory, with faults, for tests whose time is synctest's.
type network struct {
	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[string]*testBus // by id
	cut   map[[2]string]bool  // links that carry nothing, by the names at their ends
	drop  float64             // of messages
	again float64             // that come twice
	slow  time.Duration       // delay at most
	ids   int
	sent  int // messages published
}

func newNetwork(seed uint64) *network {
	return &network{rand: rand.New(rand.NewPCG(seed, 1)), nodes: map[string]*testBus{}, cut: map[[2]string]bool{}}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	n.drop, n.again, n.slow = 0, 0, 0
}

// testBus is one node's connection with a network.
type testBus struct {
	net      *network
	id, name string
	receive  func(string, []byte)
	answer   func([]byte) ([]byte, error)
	after    map[string]time.Time // when what it has sent last arrives, by receiver
}

func (n *network) join(name string) *testBus {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids++
	b := &testBus{net: n, id: fmt.Sprintf("%016x", uint64(n.ids)<<16|0xab), name: name, after: map[string]time.Time{}}
	n.nodes[b.id] = b
	return b
}

func (n *network) leave(b *testBus) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.nodes, b.id)
}

func (b *testBus) Self() (id, name string) { return b.id, b.name }

func (b *testBus) Subscribe(receive func(string, []byte)) (func(), error) {
	b.net.mu.Lock()
	defer b.net.mu.Unlock()
	b.receive = receive
	return func() {
		b.net.mu.Lock()
		defer b.net.mu.Unlock()
		b.receive = nil
	}, nil
}

func (b *testBus) Answer(answer func([]byte) ([]byte, error)) { b.answer = answer }

func (b *testBus) reaches(other *testBus) bool {
	return !b.net.cut[[2]string{b.name, other.name}] && !b.net.cut[[2]string{other.name, b.name}]
}

// Publish loses, repeats and delays, but keeps the order of what it does not lose.
func (b *testBus) Publish(data []byte) error {
	n := b.net
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	if n.nodes[b.id] != b {
		return errors.New("away")
	}
	for _, to := range n.nodes {
		if to == b || !b.reaches(to) || n.rand.Float64() < n.drop {
			continue
		}
		times := 1
		if n.rand.Float64() < n.again {
			times = 2
		}
		for range times {
			at := time.Now().Add(time.Microsecond)
			if n.slow > 0 {
				at = at.Add(time.Duration(n.rand.Int64N(int64(n.slow))))
			}
			if last := b.after[to.id]; !at.After(last) {
				at = last.Add(time.Nanosecond)
			}
			b.after[to.id] = at
			time.AfterFunc(time.Until(at), func() {
				n.mu.Lock()
				receive := to.receive
				if !b.reaches(to) {
					receive = nil
				}
				n.mu.Unlock()
				if receive != nil {
					receive(b.id, data)
				}
			})
		}
	}
	return nil
}

func (b *testBus) Request(ctx context.Context, node string, data []byte) ([]byte, error) {
	n := b.net
	n.mu.Lock()
	to, wait := n.nodes[node], time.Microsecond
	fails := to == nil || !b.reaches(to) || n.rand.Float64() < n.drop
	if n.slow > 0 {
		wait += time.Duration(n.rand.Int64N(int64(n.slow)))
	}
	n.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(wait):
	}
	if fails {
		return nil, errors.New("no answer")
	}
	return to.answer(data)
}

// testNode is a tracker that runs, and what its clients know.
type testNode struct {
	*Tracker
	t    *testing.T
	bus  *testBus
	stop func()

	mu      sync.Mutex
	lists   map[string]map[string]map[string]string // metas by topic, key and ref
	told    int                                     // changes
	flapped []string                                // keys that somebody saw leave altogether
	updates int                                     // metas that say what they were before
}

// messages is how many messages have been published.
func (n *network) messages() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

// heard is how often clients were told, whom they saw leave, and how many updates.
func (n *testNode) heard() (told int, flapped string, updates int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.told, strings.Join(n.flapped, " "), n.updates
}

// runNode runs a tracker until stop, or the test's end.
func runNode(t *testing.T, net *network, name string, change func(*Config)) *testNode {
	t.Helper()
	config := Config{Interval: 100 * time.Millisecond, Permdown: time.Minute, Max: 100_000, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&config)
	}
	tracker, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{Tracker: tracker, t: t, lists: map[string]map[string]map[string]string{}}
	if net != nil {
		n.bus = net.join(name)
		if err := tracker.Join(n.bus); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- tracker.Run(ctx, n) }()
	n.stop = sync.OnceFunc(func() {
		if net != nil {
			net.leave(n.bus)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n
}

// TellPresence is a client of each topic: it reads changes as clients do, and is stricter.
func (n *testNode) TellPresence(changed func() []Change) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range changed() {
		n.told++
		var diff struct {
			Joins, Leaves map[string]struct{ Metas []map[string]any }
		}
		payload := c.Payload()
		if err := json.Unmarshal(payload, &diff); err != nil {
			n.t.Errorf("%s: %v", payload, err)
		}
		list := n.lists[c.Topic]
		if list == nil {
			list = map[string]map[string]string{}
			n.lists[c.Topic] = list
		}
		for key, joins := range diff.Joins {
			if list[key] == nil {
				list[key] = map[string]string{}
			}
			for _, meta := range joins.Metas {
				ref := fmt.Sprint(meta["phx_ref"])
				if _, known := list[key][ref]; known {
					n.t.Errorf("%s comes again: %s", ref, payload)
				}
				if meta["phx_ref_prev"] != nil {
					n.updates++
				}
				list[key][ref] = metaText(meta)
			}
		}
		for key, leaves := range diff.Leaves {
			for _, meta := range leaves.Metas {
				ref := fmt.Sprint(meta["phx_ref"])
				if _, known := list[key][ref]; !known {
					n.t.Errorf("%s, which is not there, leaves: %s", ref, payload)
				}
				delete(list[key], ref)
			}
			if len(list[key]) == 0 {
				delete(list, key)
				n.flapped = append(n.flapped, key)
			}
		}
		if state := n.State(c.Topic); !sameAsState(list, state) {
			n.t.Errorf("clients have %v, and the list is %s", list, state)
		}
	}
	return false
}

// metaText is a meta without its refs.
func metaText(meta map[string]any) string {
	delete(meta, "phx_ref")
	delete(meta, "phx_ref_prev")
	text, _ := json.Marshal(meta)
	return string(text)
}

func sameAsState(list map[string]map[string]string, state []byte) bool {
	var said map[string]struct{ Metas []map[string]any }
	if json.Unmarshal(state, &said) != nil || len(said) != len(list) {
		return false
	}
	for key, one := range said {
		if len(one.Metas) != len(list[key]) {
			return false
		}
		for _, meta := range one.Metas {
			ref := fmt.Sprint(meta["phx_ref"])
			if list[key][ref] != metaText(meta) {
				return false
			}
		}
	}
	return true
}

// seen is who is on a topic, by what its clients were told: how often each key and meta.
func (n *testNode) seen(topic string) map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]int{}
	for key, metas := range n.lists[topic] {
		for _, meta := range metas {
			all[key+" "+meta]++
		}
	}
	return all
}
