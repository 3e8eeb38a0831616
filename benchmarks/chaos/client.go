package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// profile is what a client is like.
type profile string

const (
	fastProfile     profile = "fast"
	slowProfile     profile = "slow"     // reads a little at a time, with pauses
	restlessProfile profile = "restless" // leaves, joins and connects again all the time
	pollingProfile  profile = "polling"  // has no WebSocket
	oldProfile      profile = "old"      // speaks version 1
	lateProfile     profile = "late"     // joins in the middle, from the beginning of the log
	siblingsProfile profile = "siblings" // watches topics of every kind on one connection, at leisure
	lonelyProfile   profile = "lonely"   // comes to and goes from a topic that nobody else watches
)

var profiles = []profile{fastProfile, slowProfile, restlessProfile, pollingProfile, oldProfile, lateProfile, siblingsProfile, lonelyProfile}

const (
	patience       = 60 * time.Second       // for an answer, or any message
	heartbeatEvery = 15 * time.Second       // between heartbeats
	slowRead       = 2 * time.Millisecond   // a slow one's pause before a message, at most
	slowHeld       = 4 << 10                // bytes that the kernel holds for it
	reconnectMost  = 100 * time.Millisecond // before it connects again
	oneInChurn     = 60                     // messages of a restless one
	oneInLonely    = 8                      // messages of a lonely one
)

// transport is a connection as a client sees it: texts go out and come in.
type transport interface {
	send(text []byte) error
	next() (text []byte, err error) // valid until the next call
	// close ends it, without a word; it may be called concurrently.
	close()
}

// client watches topics, over as many connections as it takes, and resumes
// as PROTOCOL.md tells clients to.
type client struct {
	// Immutable after its making.
	profile  profile
	nodes    []*node // it connects to any of them
	anyNode  bool    // and polls any of them, at each request
	random   *rand.Rand
	erasures bool            // events may come without their payload
	hurry    <-chan struct{} // closed when nobody may be slow any more
	over     <-chan struct{} // closed when nobody may connect again

	arrived   atomic.Int64  // different events
	idleTill  atomic.Int64  // it reads nothing until then (Unix nanoseconds)
	awayTill  atomic.Int64  // it connects to nobody until then
	joinedAll chan struct{} // closed by run once all topics have been joined

	mu sync.Mutex
	// Guarded by mu.
	transport transport // nil while there is none

	// Owned by run; the run's when it has ended.
	subscriptions map[string]*subscription
	unjoined      int    // topics not joined yet, ever
	to            string // the node that it is connected to
	refs          int
	sessions      int64
	refused       int64            // joins
	ended         map[string]int64 // connections and channels, by reason
	foreign       int64            // messages of other clients
	broken        []string         // promises
}

// sub is a client's place in a topic.
type subscription struct {
	receipts
	reached atomic.Int64 // after, for others

	// What the snippet in PROTOCOL.md keeps.
	after *int64
	epoch string

	join   string // ref of the join
	joined bool   // it was answered, and nothing has ended it since
}

// maxBroken bounds what a client remembers of broken promises.
const maxBroken = 3

func (c *client) breaks(format string, values ...any) {
	if len(c.broken) < maxBroken {
		c.broken = append(c.broken, string(c.profile)+" client: "+fmt.Sprintf(format, values...))
	}
}

// run connects again and again, until it is over.
func (c *client) run(ctx context.Context) {
	for !over(ctx, c.over) {
		if away := time.Until(time.Unix(0, c.awayTill.Load())); away > 0 {
			pause(ctx, c.hurry, away)
		}
		err := c.session(ctx) // how it ended does not matter: what arrived does
		if closed := new(closedError); errors.As(err, closed) {
			c.ends("socket closed " + strconv.Itoa(closed.code))
		}
		pause(ctx, c.over, time.Duration(c.random.Int64N(int64(reconnectMost))))
	}
}

// cut breaks the connection, without a word to the server.
func (c *client) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		c.transport.close()
	}
}

// idle has the client read nothing for a while.
func (c *client) idle(d time.Duration) { c.idleTill.Store(time.Now().Add(d).UnixNano()) }

// leave has the client be away for a while.
func (c *client) leave(d time.Duration) {
	c.awayTill.Store(time.Now().Add(d).UnixNano())
	c.cut()
}

func (c *client) ends(reason string) {
	if c.ended == nil {
		c.ended = map[string]int64{}
	}
	c.ended[reason]++
}

// linger takes the time that a client of its profile, or an idle one, takes
// before it reads on.
func (c *client) linger(ctx context.Context) {
	if idle := time.Until(time.Unix(0, c.idleTill.Load())); idle > 0 {
		pause(ctx, c.hurry, idle)
	}
	if c.leisurely() {
		pause(ctx, c.hurry, time.Duration(c.random.Int64N(int64(slowRead))))
	}
}

// leisurely tells whether the client is slow just now.
func (c *client) leisurely() bool {
	return (c.profile == slowProfile || c.profile == siblingsProfile) && !over(context.Background(), c.hurry)
}

// open connects to one of the nodes; narrow is a connection of which the kernel holds little.
func (c *client) open(ctx context.Context, narrow bool) (w transport, err error) {
	node := c.nodes[c.random.IntN(len(c.nodes))]
	c.to = node.Name()
	switch c.profile {
	case pollingProfile:
		w, err = openPolls(ctx, c.polled(node))
	default:
		held := 0
		if narrow {
			held = slowHeld
		}
		w, err = openSocket(ctx, node.Public, c.version(), held)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport = w
	return w, nil
}

// closesOn closes a connection once a channel is closed, until stop is called. One that is
// narrow is not waited for: what has piled up before it passes slowly, and a kernel that has
// found its window closed looks ever more seldom whether it has opened.
func closesOn(hurry <-chan struct{}, t transport) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		select {
		case <-hurry:
			t.close()
		case <-stopped:
		}
	}()
	return func() { close(stopped) }
}

// polled says where the next poll of a session goes, which is begun at a node.
func (c *client) polled(first *node) func() string {
	if !c.anyNode {
		return func() string { return first.Public }
	}
	c.to = "any node"
	return anyOf(c.nodes, c.random.Uint64())
}

// anyOf says where a client goes that a load balancer knows nothing of. It may be called
// concurrently.
func anyOf(nodes []*node, seed uint64) func() string {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 0))
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return nodes[random.IntN(len(nodes))].Public
	}
}

func (c *client) version() string {
	if c.profile == oldProfile {
		return "1.0.0"
	}
	return "2.0.0"
}

// session is one connection, until it ends.
func (c *client) session(ctx context.Context) error {
	narrow := c.leisurely()
	w, err := c.open(ctx, narrow)
	if err != nil {
		return err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.close)()
	if narrow {
		defer closesOn(c.hurry, w)()
	}
	c.sessions++
	for topic, sub := range c.subscriptions {
		sub.went("connected to %s", c.to)
		if err := c.join(w, topic, sub); err != nil {
			return err
		}
	}
	beat := time.Now()
	for {
		c.linger(ctx)
		text, err := w.next()
		if err != nil {
			return err
		}
		m, err := decodeMessage(c.profile == oldProfile, text)
		if err != nil {
			c.breaks("%v", err)
			return err
		}
		if err := c.handle(w, m); err != nil {
			return err
		}
		if one := c.oneIn(); one > 0 && c.random.IntN(one) == 0 && !over(ctx, c.hurry) {
			if err := c.churn(w); err != nil {
				return err
			}
		}
		if now := time.Now(); now.Sub(beat) > heartbeatEvery {
			beat = now
			if err := c.send(w, "", "phoenix", "heartbeat", "{}"); err != nil {
				return err
			}
		}
	}
}

var errChurn = errors.New("benchmarks: a client that felt like it")

// oneIn says after how many messages a client feels like leaving, 0 for never.
func (c *client) oneIn() int {
	switch c.profile {
	case restlessProfile:
		return oneInChurn
	case lonelyProfile:
		return oneInLonely
	}
	return 0
}

// churn ends the connection, or leaves topics; the answer to that joins again.
func (c *client) churn(w transport) error {
	if c.random.IntN(3) == 0 {
		return errChurn
	}
	for topic, sub := range c.subscriptions {
		if sub.joined {
			if err := c.send(w, sub.join, topic, "phx_leave", "{}"); err != nil {
				return err
			}
		}
	}
	return nil
}

// join asks for what comes after what has arrived: from the beginning for the
// late, from now on for others that have nothing yet.
func (c *client) join(w transport, topic string, s *subscription) error {
	params, err := json.Marshal(struct {
		After *int64 `json:"after"`
		Epoch string `json:"epoch,omitempty"`
	}{s.after, s.epoch})
	if err != nil {
		return err
	}
	s.join, s.joined = strconv.Itoa(c.refs+1), false
	return c.send(w, s.join, topic, "phx_join", string(params))
}

func (c *client) send(w transport, join, topic, event, payload string) error {
	c.refs++
	return w.send(encodeMessage(c.profile == oldProfile, join, strconv.Itoa(c.refs), topic, event, payload))
}

// answer is what a client reads of an answer.
type answer struct {
	Status   string
	Response struct {
		Offset  *int64
		Epoch   string
		Resumed bool
		Reason  string
	}
}

// eventMessage is what a client reads of an event.
type eventMessage struct {
	Offset *int64
	Data   struct {
		W      int
		N      *int64
		Forged *int64 // of a hostile client
	}
}

// handle takes in a message. An error ends the connection.
func (c *client) handle(w transport, m phoenixMessage) error {
	s := c.subscriptions[m.topic]
	if s == nil {
		return nil // the heartbeat's answer
	}
	switch m.event {
	case "phx_reply":
		if m.ref != s.join {
			return nil // to a leave: the close that follows it says all
		}
		return c.answered(s, m.payload)
	case "phx_error":
		if m.joinRef != "" && m.joinRef != s.join {
			return nil // of a join that was replaced
		}
		s.went("ended: %s", reasonOf(m.payload))
		c.ends("channel ended: " + reasonOf(m.payload))
		return c.join(w, m.topic, s)
	case "phx_close":
		if m.joinRef != "" && m.joinRef != s.join || c.oneIn() == 0 {
			return fmt.Errorf("benchmarks: topic %s was closed", m.topic)
		}
		return c.join(w, m.topic, s)
	case "sluice_position":
		c.move(s, m.payload)
		return nil
	case swarm.EventName:
		return c.receive(s, m.payload)
	case forgedEvent:
		c.pass(s, m.payload)
		return nil
	case "sluice_epoch":
		c.foreign++
		return nil
	}
	c.breaks("%s on %s: %.200s", m.event, m.topic, m.payload)
	return fmt.Errorf("benchmarks: %s on %s", m.event, m.topic)
}

// reasonOf is the reason that a payload gives.
func reasonOf(payload []byte) string {
	var with struct{ Reason string }
	if err := json.Unmarshal(payload, &with); err != nil || with.Reason == "" {
		return "without a reason"
	}
	return with.Reason
}

// move takes note of a position that everything up to has been seen of.
func (c *client) move(s *subscription, payload []byte) {
	var event struct{ Offset *int64 }
	switch err := json.Unmarshal(payload, &event); {
	case err == nil && event.Offset == nil: // another client's
		c.foreign++
		return
	case err != nil || s.after == nil || *event.Offset < *s.after:
		c.breaks("a position that is none, or behind: %.200s", payload)
		return
	}
	s.moveTo(*event.Offset)
}

// pass takes in what another client pushed. Where that went to the log it has an offset
// as any event of it, beside the payload, and moves the place as any does.
func (c *client) pass(s *subscription, payload []byte) {
	c.foreign++
	var event struct{ Offset *int64 }
	switch err := json.Unmarshal(payload, &event); {
	case err != nil || event.Offset == nil:
	case s.after == nil || *event.Offset <= *s.after:
		c.breaks("event %d of another client came after %s", *event.Offset, written(s.after))
	default:
		s.moveTo(*event.Offset)
	}
}

// written is an offset as it is told, or none.
func written(after *int64) string {
	if after == nil {
		return "nothing"
	}
	return strconv.FormatInt(*after, 10)
}

func (s *subscription) moveTo(after int64) {
	s.after = &after
	s.reached.Store(after)
}

// answered is what PROTOCOL.md does when a join was answered.
func (c *client) answered(s *subscription, payload []byte) error {
	var reply answer
	if err := json.Unmarshal(payload, &reply); err != nil || reply.Status != "ok" || reply.Response.Offset == nil || reply.Response.Epoch == "" {
		c.refused++
		return fmt.Errorf("benchmarks: a join was answered %s", payload)
	}
	response := reply.Response
	s.went("join %s after %s of %q: %d of %q, resumed %v", s.join, written(s.after), s.epoch, *response.Offset, response.Epoch, response.Resumed)
	first := s.epoch == ""
	switch {
	case !response.Resumed && s.after != nil:
		s.receipts.told = append(s.receipts.told, told{s.epoch, response.Epoch, *s.after, *response.Offset, time.Now()})
		s.moveTo(*response.Offset)
	case s.after == nil:
		s.moveTo(*response.Offset)
	}
	if first {
		if !s.started {
			s.started, s.startEpoch, s.start = true, response.Epoch, *s.after
		}
		if c.unjoined--; c.unjoined == 0 {
			close(c.joinedAll)
		}
	}
	if s.epoch != response.Epoch {
		s.last = 0 // offsets may have begun again
	}
	s.epoch, s.joined = response.Epoch, true
	return nil
}

func (c *client) receive(s *subscription, payload []byte) error {
	var event eventMessage
	if err := json.Unmarshal(payload, &event); err != nil {
		c.breaks("an event that is none of ours: %.200s", payload)
		return nil
	}
	if event.Offset == nil { // it is not in the log
		c.foreign++
		if event.Data.N != nil {
			c.breaks("an event without an offset: %.200s", payload)
		}
		return nil
	}
	if !s.joined {
		c.breaks("event %d came before the answer to the join", *event.Offset)
	}
	s.moveTo(*event.Offset)
	switch {
	case event.Data.Forged != nil: // pushed to the log by a client
		c.foreign++
	case event.Data.N == nil && c.erasures:
		s.noteErased(s.epoch, *event.Offset)
	case event.Data.N == nil:
		c.breaks("an event that is none of ours: %.200s", payload)
	case s.note(*event.Offset, event.Data.W, *event.Data.N):
		c.arrived.Add(1)
	}
	return nil
}
