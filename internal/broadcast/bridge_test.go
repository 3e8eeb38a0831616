package broadcast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// node is a bridge on a network, with topics that remember what they are given.
type node struct {
	*Bridge
	bus *countingBus
	set *metrics.Set

	mu  sync.Mutex
	got map[string][]string // payloads by topic; guarded by mu
}

// Deliver implements [Topics].
func (n *node) Deliver(topic string, messages []channels.Message) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range messages {
		if string(m.Payload) == `{"bad":1}` {
			return 0, errors.New("no encoder likes it")
		}
		n.got[strings.Clone(topic)] = append(n.got[topic], string(m.Payload))
	}
	return len(messages), nil
}

func (n *node) heard(topic string) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.got[topic])
}

func (n *node) dropped(reason string) int64 {
	return n.set.Counter(metrics.BroadcastsDropped, metrics.Reason(reason)).Value()
}

// countingBus counts what a bus is asked.
type countingBus struct {
	cluster.Bus

	mu         sync.Mutex
	published  int            // guarded by mu, as what follows
	listening  map[string]int // subscriptions by subject
	subscribed int            // ever
}

func (c *countingBus) Publish(subject string, data []byte) error {
	c.mu.Lock()
	c.published++
	c.mu.Unlock()
	return c.Bus.Publish(subject, data)
}

func (c *countingBus) Subscribe(subject string, handle func(cluster.Message)) (func(), error) {
	end, err := c.Bus.Subscribe(subject, handle)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listening[subject]++
	c.subscribed++
	return func() {
		end()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.listening[subject]--; c.listening[subject] == 0 {
			delete(c.listening, subject)
		}
	}, err
}

// counts are how many messages were published, how many subjects are listened to, and
// how often one began to be.
func (c *countingBus) counts() (published, listening, subscribed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.published, len(c.listening), c.subscribed
}

// join returns a node that runs on a network until the test ends.
func join(t *testing.T, net *clustertest.Net, name string) *node {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{bus: &countingBus{Bus: net.Join(name), listening: map[string]int{}}, set: set, got: map[string][]string{}}
	n.Bridge, err = New(Config{Bus: n.bus, Topics: n, Metrics: set, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{n.bus.Run, n.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	return n
}

// until waits for what another goroutine is to do. It is not slept for, but asked for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	const patience = 5 * time.Minute
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("after %v: no %s", patience, what)
		}
		time.Sleep(time.Millisecond) // of a real clock
	}
}

// nodes returns nodes that know each other and all want a topic.
func nodes(t *testing.T, net *clustertest.Net, topic string, names ...string) []*node {
	t.Helper()
	var all []*node
	for _, name := range names {
		all = append(all, join(t, net, name))
	}
	for _, n := range all {
		n.Enter(topic)
		until(t, "others", func() bool { return len(n.bus.Nodes()) == len(names)-1 && n.others.Load() })
		until(t, "interest", func() bool { return n.listening() == 1 })
	}
	return all
}

func say(topic, payload string) *channels.Message {
	return &channels.Message{Topic: topic, Event: "said", Payload: []byte(payload)}
}

func numbered(i int) string { return `{"n":` + strconv.Itoa(i) + `}` }

func number(t *testing.T, payload string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(payload, `{"n":%d}`, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFaultsOfTheBus has what three nodes say to one topic come in order, from each of them,
// and once, whatever the bus loses, repeats and delays.
func TestFaultsOfTheBus(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]clustertest.Faults{
		"none":  {},
		"lost":  {Drop: 0.3},
		"twice": {Repeat: 0.5},
		"late":  {Delay: time.Second},
		"all":   {Drop: 0.2, Repeat: 0.3, Delay: time.Second},
		"worse": {Drop: 0.1, Repeat: 0.3, Reorder: 0.3, Delay: time.Second}, // than a bus may be
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const each = 200
			net := clustertest.NewNet(t, 7)
			all := nodes(t, net, "room", "a", "b", "c")
			net.SetFaults(faults)
			for i := range each {
				for from, n := range all {
					if err := n.Send(say("room", numbered(from*each+i))); err != nil {
						t.Fatal(err)
					}
				}
				net.Advance(10 * time.Millisecond)
			}
			net.Advance(time.Minute)
			net.Advance(time.Minute) // what was held back
			net.Settle()
			for at, n := range all {
				last, count := map[int]int{}, map[int]int{}
				for _, payload := range n.heard("room") {
					i := number(t, payload)
					from := i / each
					if before, ok := last[from]; ok && i <= before {
						t.Fatalf("node %d had %d of node %d after %d", at, i%each, from, before%each)
					}
					last[from] = i
					count[from]++
				}
				if count[at] > 0 {
					t.Errorf("node %d heard itself", at)
				}
				for from := range all {
					if from != at && faults.Drop == 0 && faults.Reorder == 0 && count[from] != each {
						t.Errorf("node %d has %d of %d of node %d", at, count[from], each, from)
					}
				}
				missing := int64(2*each - count[0] - count[1] - count[2])
				if lost := n.set.Counter(metrics.BroadcastsLost).Value(); lost > missing || missing > 0 && lost == 0 {
					t.Errorf("node %d has missed %d, and says %d", at, missing, lost)
				}
				if repeated := n.dropped("repeated"); (repeated > 0) != (faults.Repeat > 0) {
					t.Errorf("node %d had %d twice", at, repeated)
				}
			}
		})
	}
}

// TestOrderOfManyAtOnce has goroutines of one node say something at once: what each of
// them says is in order everywhere, and nothing is taken for a repeat.
func TestOrderOfManyAtOnce(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 200
	net := clustertest.NewNet(t, 1)
	all := nodes(t, net, "room", "a", "b")
	var saying sync.WaitGroup
	for g := range goroutines {
		saying.Go(func() {
			for i := range each {
				if err := all[0].Send(say("room", numbered(g*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	saying.Wait()
	net.Settle()
	got := all[1].heard("room")
	next := map[int]int{}
	for _, payload := range got {
		i := number(t, payload)
		if g := i / each; i%each != next[g] {
			t.Fatalf("goroutine %d: %d instead of %d", g, i%each, next[g])
		} else {
			next[g]++
		}
	}
	if len(got) != goroutines*each || all[1].dropped("repeated") > 0 {
		t.Errorf("%d of %d came, %d were taken for repeats", len(got), goroutines*each, all[1].dropped("repeated"))
	}
}

// TestInterestComesAndGoes has a node hear what its topics fall to, and stop hearing it a
// while after the last has gone, but not before.
func TestInterestComesAndGoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := clustertest.NewNet(t, 1)
		a, b := join(t, net, "a"), join(t, net, "b")
		synctest.Wait()
		listens := func() int { _, listening, _ := b.bus.counts(); return listening }
		hears := func(payload string) bool {
			t.Helper()
			if err := a.Send(say("room", payload)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return slices.Contains(b.heard("room"), payload)
		}
		if hears("{}") || listens() != 0 {
			t.Error("it hears what nobody wants")
		}
		b.Enter("room")
		synctest.Wait()
		if !hears(`{"n":1}`) || listens() != 1 {
			t.Error("it does not hear what somebody wants")
		}
		for range 100 { // comes and goes
			b.Leave("room")
			time.Sleep(lookInterval) // of the test's own clock
			b.Enter("room")
			synctest.Wait()
		}
		if _, _, subscribed := b.bus.counts(); subscribed != 1 {
			t.Errorf("it has begun to listen %d times", subscribed)
		}
		b.Leave("room")
		time.Sleep(linger) // of the test's own clock
		synctest.Wait()
		if !hears(`{"n":2}`) {
			t.Error("it stops at once")
		}
		time.Sleep(2 * lookInterval) // of the test's own clock
		synctest.Wait()
		if hears(`{"n":3}`) || listens() != 0 {
			t.Error("it goes on for ever")
		}
		b.Enter("room")
		synctest.Wait()
		if !hears(`{"n":4}`) {
			t.Error("it does not begin again")
		}
		if lost := b.set.Counter(metrics.BroadcastsLost).Value(); lost != 0 {
			t.Errorf("what it did not want counts as lost: %d", lost)
		}
		for i := range 10_000 { // all there are
			b.Enter("room:" + strconv.Itoa(i))
		}
		synctest.Wait()
		if listens() != Subjects {
			t.Errorf("it listens to %d subjects", listens())
		}
		for i := range 10_000 {
			b.Leave("room:" + strconv.Itoa(i))
		}
		time.Sleep(linger + 2*lookInterval) // of the test's own clock
		synctest.Wait()
		if listens() != 1 {
			t.Errorf("it listens to %d subjects, and wants one", listens())
		}
	})
}

// TestAnAnswerIsHeard has a node whose first client has just joined, and that has not
// come to listen yet, hear what answers a broadcast of its own.
func TestAnAnswerIsHeard(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	a, b := join(t, net, "a"), join(t, net, "b")
	for _, n := range []*node{a, b} {
		until(t, "others", n.others.Load)
	}
	b.Enter("room")
	until(t, "interest", func() bool { return b.listening() == 1 })
	a.subjects[subjectOf("room")].topics.Add(1) // as Enter does, before Run has looked
	if err := a.Send(say("room", `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.Send(say("room", `{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	net.Settle()
	if got := a.heard("room"); !slices.Equal(got, []string{`{"n":2}`}) {
		t.Errorf("it hears %q", got)
	}
}

// TestNobodyElse has a node that is alone publish nothing, and encode nothing.
func TestNobodyElse(t *testing.T) { // not parallel: allocations are counted
	net := clustertest.NewNet(t, 1)
	a := join(t, net, "a")
	until(t, "bus", func() bool { return a.bus.Connected() == nil && a.listening() == 0 })
	m := say("room", "{}")
	if allocations := testing.AllocsPerRun(100, func() {
		if err := a.Send(m); err != nil {
			t.Fatal(err)
		}
	}); allocations > 0 {
		t.Errorf("it allocates %v times for nobody", allocations)
	}
	if sent, err := a.SendAll([]*channels.Message{m}); !sent || err != nil {
		t.Errorf("%v, %v", sent, err)
	}
	if published, _, _ := a.bus.counts(); published != 0 {
		t.Errorf("it has published %d times to nobody", published)
	}
	a.config.Expected = func() bool { return true } // another serves, unheard
	if err := a.Send(m); err != nil {
		t.Fatal(err)
	}
	if published, _, _ := a.bus.counts(); published != 1 {
		t.Error("it sends nothing to whom it does not hear")
	}
}

// TestTheBusIsAway has a node say so, and send nothing.
func TestTheBusIsAway(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	all := nodes(t, net, "room", "a", "b")
	net.Away("a")
	if err := all[0].Send(say("room", "{}")); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("it says %v", err)
	}
	if sent, err := all[0].SendAll([]*channels.Message{say("room", "{}"), say("hall", "{}")}); sent || !errors.Is(err, cluster.ErrAway) {
		t.Errorf("it says %v, %v", sent, err)
	}
	net.Heal()
	if err := all[0].Send(say("room", `{"n":1}`)); err != nil {
		t.Fatal(err)
	}
	net.Settle()
	if got := all[1].heard("room"); !slices.Equal(got, []string{`{"n":1}`}) {
		t.Errorf("b has %q", got)
	}
}

// TestBatches has many messages of several topics travel in few, each topic's in order,
// and what is too large for the bus be refused before anything is sent.
func TestBatches(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	all := nodes(t, net, "room", "a", "b")
	all[1].Enter("hall")
	until(t, "interest", func() bool { return all[1].listening() == 2 })
	var batch []*channels.Message
	for i := range 1000 {
		batch = append(batch, say([]string{"room", "hall"}[i%2], numbered(i)))
	}
	large := bytes.Repeat([]byte(" "), MaxPayload)
	copy(large, `{"n":1000}`)
	batch = append(batch, say("room", string(large)), say("room", string(large)), say("room", `{"n":1001}`))
	if sent, err := all[0].SendAll(batch); !sent || err != nil {
		t.Fatalf("%v, %v", sent, err)
	}
	net.Settle()
	room, hall := all[1].heard("room"), all[1].heard("hall")
	if len(room) != 503 || len(hall) != 500 || !slices.IsSortedFunc(room, func(a, b string) int { return number(t, a) - number(t, b) }) {
		t.Errorf("%d and %d came", len(room), len(hall))
	}
	if published, _, _ := all[0].bus.counts(); published != 5 {
		t.Errorf("they took %d messages", published)
	}
	if sent := all[0].set.Counter(metrics.BroadcastsSent).Value(); sent != 1003 {
		t.Errorf("it has counted %d", sent)
	}

	batch = append(batch, say("room", string(large)+" "))
	sent, err := all[0].SendAll(batch)
	invalid := new(store.InvalidError)
	if sent || !errors.As(err, &invalid) || invalid.Field != "payload" {
		t.Errorf("%v, %v", sent, err)
	}
	if err := all[0].Send(batch[1003]); !errors.As(err, &invalid) {
		t.Errorf("%v", err)
	}
	if published, _, _ := all[0].bus.counts(); published != 5 {
		t.Error("something was sent of what is refused")
	}
}

// TestWhatIsHostile has a node count and drop what no node sends, and go on.
func TestWhatIsHostile(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	b := nodes(t, net, "room", "a", "b")[1]
	i := subjectOf("room")
	other := written(1, "room", *say("", "{}"))
	other[len(wireMagic)]++
	elsewhere := "hall"
	for n := 0; subjectOf(elsewhere) == i; n++ {
		elsewhere = "hall:" + strconv.Itoa(n)
	}
	subject := &b.subjects[i]
	for reason, data := range map[string][]byte{
		"malformed": written(1, elsewhere, *say("", "{}")),
		"version":   other,
		"encode":    written(1, "room", *say("", `{"bad":1}`)),
		"repeated":  written(1, "room", *say("", `{"n":1}`)),
	} {
		if reason == "repeated" {
			subject.advance("them", 1, 1, time.Now())
		}
		b.receive(i, 1, cluster.Message{From: map[bool]string{true: "them", false: "those"}[reason == "repeated"], Data: data})
		if n := b.dropped(reason); n != 1 {
			t.Errorf("%s: counted %d times", reason, n)
		}
	}
	now := time.Now()
	for n := range 2 * maxSenders {
		subject.advance("node"+strconv.Itoa(n), 1, 1, now)
	}
	if n := len(subject.positions); n != maxSenders {
		t.Errorf("it remembers %d nodes", n)
	}
	b.receive(i, 1, cluster.Message{From: "one more", Data: written(1, "room", *say("", `{"n":1}`))})
	if b.dropped("senders") != 1 {
		t.Error("there is room for any number of nodes")
	}
	if got := b.heard("room"); len(got) > 0 {
		t.Errorf("it has delivered %q", got)
	}
	subject.forget(now.Add(memory))
	b.receive(i, 1, cluster.Message{From: "one more", Data: written(1, "room", *say("", `{"n":1}`))})
	if got := b.heard("room"); !slices.Equal(got, []string{`{"n":1}`}) {
		t.Errorf("after a while it has delivered %q", got)
	}
}
