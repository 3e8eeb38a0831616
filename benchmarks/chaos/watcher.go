package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// watcher is a client that is told who is there, and what nodes broadcast. It joins all of
// its topics under one key, leaves and comes again all the time, and goes to any node.
type watcher struct {
	// Immutable.
	index   int
	key     string // that others know it by; two have the same
	polls   bool   // it has no WebSocket
	old     bool   // it speaks version 1
	slow    bool   // it reads a little at a time, with pauses
	follows bool   // it joins with after, and so nothing may be shed of the log
	nodes   []*node
	topics  []string
	hurry   <-chan struct{} // closed when nobody may be slow any more, or leave
	over    <-chan struct{} // closed when nobody may connect again

	// Owned by run.
	random *rand.Rand
	refs   int

	mu sync.Mutex
	// Guarded by mu; the run's when it has ended.
	transport transport // nil while there is none
	places    map[string]*watched
	sessions  int64
	broken    []string
	tally     castTally
}

// watched is a watcher's place on a topic, of one connection.
type watched struct {
	join   string // ref of the last join
	joined bool
	roster swarm.Roster
	casts  map[[2]int]*casts // by sender: node and life
	heard  map[int]cast      // by node: the last broadcast that came by way of it
}

// Watchers of a cluster, beside its clients.
const (
	hereTopic      = "here" // presence: {key: client}, watched by watchers alone
	hereTopics     = 2
	watchersOf     = 4 // sockets to a watcher
	fewestWatchers = 8
	oneInStay      = 400 // messages that a watcher stays for
	watcherStays   = 4 * time.Second
)

// watcherCount is how many there are.
func (c *Chaos) watcherCount() int {
	if !c.clustered() {
		return 0
	}
	return max(fewestWatchers, c.Sockets/watchersOf)
}

// hereTopics are the topics of watchers.
func (c *Chaos) hereTopics() (names []string) {
	if c.clustered() {
		for i := range hereTopics {
			names = append(names, topicName(hereTopic, i))
		}
	}
	return names
}

// startWatchers makes them, and waits until all have joined.
func (r *run) startWatchers() error {
	for i := range r.watcherCount() {
		w := &watcher{
			index: i, key: fmt.Sprintf("watcher %d", i/2), polls: i%3 == 2, old: i%3 == 1, slow: i%4 == 3, follows: i%2 == 0,
			nodes: r.nodes, topics: r.hereTopics(), hurry: r.hurry, over: r.over, random: rand.New(rand.NewPCG(r.Seed, 4000+uint64(i))),
		}
		r.watchers = append(r.watchers, w)
		r.reading.Go(func() { w.run(r.ctx) })
	}
	return r.until(patience, func() (string, error) { return r.absent(), nil })
}

// absent says which watcher is not there; empty: all are.
func (r *run) absent() string {
	for _, w := range r.watchers {
		if !w.there() {
			return fmt.Sprintf("watcher %d has not joined its topics", w.index)
		}
	}
	return ""
}

// there tells whether it has joined all of its topics, and was told who is there.
func (w *watcher) there() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range w.topics {
		if p := w.places[topic]; p == nil || !p.joined || p.roster.Len() < 0 {
			return false
		}
	}
	return true
}

// run connects again and again, until it is over.
func (w *watcher) run(ctx context.Context) {
	for !over(ctx, w.over) {
		_ = w.session(ctx) // how it ended does not matter
		w.mu.Lock()
		w.transport, w.places = nil, nil
		w.mu.Unlock()
		pause(ctx, w.over, time.Duration(w.random.Int64N(int64(reconnectMost))))
	}
}

// cut breaks the connection, without a word to the server.
func (w *watcher) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.transport != nil {
		w.transport.close()
	}
}

func (w *watcher) open(ctx context.Context, narrow bool) (transport, error) {
	if w.polls {
		return openPolls(ctx, anyOf(w.nodes, w.random.Uint64()))
	}
	version, held := "2.0.0", 0
	if w.old {
		version = "1.0.0"
	}
	if narrow {
		held = slowHeld
	}
	return openSocket(ctx, w.nodes[w.random.IntN(len(w.nodes))].Public, version, held)
}

// session is one connection, until it ends.
func (w *watcher) session(ctx context.Context) error {
	narrow := w.slow && !over(ctx, w.hurry)
	t, err := w.open(ctx, narrow)
	if err != nil {
		return err
	}
	defer t.close()
	defer context.AfterFunc(ctx, t.close)()
	if narrow {
		defer closesOn(w.hurry, t)()
	}
	w.mu.Lock()
	w.transport, w.places = t, map[string]*watched{}
	w.sessions++
	w.mu.Unlock()
	for _, topic := range w.topics {
		if err := w.join(t, topic); err != nil {
			return err
		}
	}
	beat, began := time.Now(), time.Now()
	for {
		if narrow {
			pause(ctx, w.hurry, time.Duration(w.random.Int64N(int64(slowRead))))
		}
		text, err := t.next()
		if err != nil {
			return err
		}
		m, err := decodeMessage(w.old, text)
		if err == nil {
			err = w.take(t, m)
		}
		if err != nil {
			return err
		}
		now := time.Now()
		if !over(ctx, w.hurry) && (w.random.IntN(oneInStay) == 0 || now.Sub(began) > watcherStays) {
			began = now
			if err := w.churn(t); err != nil {
				return err
			}
		}
		if now.Sub(beat) > heartbeatEvery {
			beat = now
			if err := w.send(t, "", "phoenix", "heartbeat", "{}"); err != nil {
				return err
			}
		}
	}
}

// churn ends the connection, or leaves a topic: it joins again when that is answered.
func (w *watcher) churn(t transport) error {
	if w.random.IntN(3) == 0 {
		return errChurn
	}
	topic := w.topics[w.random.IntN(len(w.topics))]
	w.mu.Lock()
	p := w.places[topic]
	join, joined := p.join, p.joined
	p.joined = false
	w.mu.Unlock()
	if !joined {
		return nil
	}
	return w.send(t, join, topic, "phx_leave", "{}")
}

func (w *watcher) join(t transport, topic string) error {
	params := map[string]any{"config": map[string]any{"presence": map[string]any{"key": w.key}}}
	if w.follows {
		params["after"] = nil
	}
	text, err := json.Marshal(params)
	if err != nil {
		return err
	}
	join := strconv.Itoa(w.refs + 1)
	w.mu.Lock()
	p := w.places[topic]
	if p == nil {
		p = &watched{casts: map[[2]int]*casts{}, heard: map[int]cast{}}
		w.places[topic] = p
	}
	p.join, p.joined, p.roster = join, false, swarm.Roster{}
	w.mu.Unlock()
	return w.send(t, join, topic, "phx_join", string(text))
}

func (w *watcher) send(t transport, join, topic, event, payload string) error {
	w.refs++
	return t.send(encodeMessage(w.old, join, strconv.Itoa(w.refs), topic, event, payload))
}

// errRefused ends a connection whose join was refused.
var errRefused = errors.New("benchmarks: a watcher was refused")

// take takes in a message. An error ends the connection.
func (w *watcher) take(t transport, m phoenixMessage) (err error) {
	w.mu.Lock()
	p := w.places[m.topic]
	again := false
	switch {
	case p == nil: // the heartbeat's answer
	case m.joinRef != "" && m.joinRef != p.join: // of a join that has ended
	default:
		again, err = w.enter(p, m)
	}
	w.mu.Unlock()
	if again && err == nil {
		return w.join(t, m.topic)
	}
	return err
}

// enter takes in a message of a topic; mu is held. again: the topic is to be joined again.
func (w *watcher) enter(p *watched, m phoenixMessage) (again bool, err error) {
	switch m.event {
	case "phx_reply":
		var reply struct{ Status string }
		if m.ref != p.join {
			return false, nil // to a leave: the close that follows it says all
		}
		if err := json.Unmarshal(m.payload, &reply); err != nil || reply.Status != "ok" {
			return false, errRefused
		}
		p.joined = true
	case "phx_error", "phx_close":
		p.joined = false
		return true, nil
	case "presence_state":
		err = p.roster.State(m.payload)
	case "presence_diff":
		err = p.roster.Diff(m.payload)
	case castEvent:
		var c cast
		if c, err = parseCast(m.payload); err == nil {
			w.hear(p, c)
		}
	case swarm.EventName, "sluice_position", "sluice_epoch": // of the log, which others check
	default:
		err = fmt.Errorf("%s on %s: %.200s", m.event, m.topic, m.payload)
	}
	if err != nil && len(w.broken) < maxBroken {
		w.broken = append(w.broken, fmt.Sprintf("watcher %d: %v", w.index, err))
	}
	return false, err
}

// hear enters a broadcast.
func (w *watcher) hear(p *watched, c cast) {
	sender := [2]int{c.Node, c.Life}
	of := p.casts[sender]
	if of == nil {
		of = &casts{}
		p.casts[sender] = of
	}
	before := w.tally
	of.take(c.Number, &w.tally)
	if (w.tally.twice > before.twice || w.tally.disordered > before.disordered) && len(w.broken) < maxBroken {
		w.broken = append(w.broken, fmt.Sprintf("watcher %d, connection %d: broadcast %d of sender %v came twice, or after %d",
			w.index, w.sessions, c.Number, sender, of.last))
	}
	p.heard[c.Node] = c
}
