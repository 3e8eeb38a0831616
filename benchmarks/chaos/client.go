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

// temper is what a client is like.
type temper string

const (
	fastTemper     temper = "fast"
	slowTemper     temper = "slow"     // reads a little at a time, with pauses
	restlessTemper temper = "restless" // leaves, joins and connects again all the time
	pollingTemper  temper = "polling"  // has no WebSocket
	oldTemper      temper = "old"      // speaks version 1
	lateTemper     temper = "late"     // joins in the middle, from the beginning of the log
	siblingsTemper temper = "siblings" // watches topics of every kind on one connection, at leisure
	lonelyTemper   temper = "lonely"   // comes to and goes from a topic that nobody else watches
)

var tempers = []temper{fastTemper, slowTemper, restlessTemper, pollingTemper, oldTemper, lateTemper, siblingsTemper, lonelyTemper}

const (
	chaosPatience = 60 * time.Second       // for an answer, or any message
	chaosBeat     = 15 * time.Second       // between heartbeats
	slowRead      = 2 * time.Millisecond   // a slow one's pause before a message, at most
	slowHeld      = 4 << 10                // bytes that the kernel holds for it
	reconnectMost = 100 * time.Millisecond // before it connects again
	oneInWhim     = 60                     // messages of a restless one
	oneInLonely   = 8                      // messages of a lonely one
)

// carrier is a connection as a client sees it: texts go out and come in.
type carrier interface {
	send(text []byte) error
	next() (text []byte, err error) // valid until the next call
	// close ends it, without a word; it may be called concurrently.
	close()
}

// chaosClient watches topics, over as many connections as it takes, and resumes
// as PROTOCOL.md tells clients to.
type chaosClient struct {
	// Immutable after its making.
	temper temper
	nodes  []*node // it connects to any of them
	random *rand.Rand
	hurry  <-chan struct{} // closed when nobody may be slow any more
	over   <-chan struct{} // closed when nobody may connect again

	arrived  atomic.Int64  // different events
	idleTill atomic.Int64  // it reads nothing until then (Unix nanoseconds)
	awayTill atomic.Int64  // it connects to nobody until then
	seated   chan struct{} // closed by run once all topics have been joined

	mu sync.Mutex
	// Guarded by mu.
	wire carrier // nil while there is none

	// Owned by run; the storm's when it has ended.
	seats    map[string]*seat
	unseated int    // topics not joined yet, ever
	to       string // the node that it is connected to
	refs     int
	sessions int64
	refused  int64            // joins
	ended    map[string]int64 // connections and channels, by reason
	foreign  int64            // messages of other clients
	broken   []string         // promises
}

// seat is a client's place in a topic.
type seat struct {
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

func (c *chaosClient) breaks(format string, values ...any) {
	if len(c.broken) < maxBroken {
		c.broken = append(c.broken, string(c.temper)+" client: "+fmt.Sprintf(format, values...))
	}
}

// run connects again and again, until it is over.
func (c *chaosClient) run(ctx context.Context) {
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
func (c *chaosClient) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire != nil {
		c.wire.close()
	}
}

// idle has the client read nothing for a while.
func (c *chaosClient) idle(d time.Duration) { c.idleTill.Store(time.Now().Add(d).UnixNano()) }

// leave has the client be away for a while.
func (c *chaosClient) leave(d time.Duration) {
	c.awayTill.Store(time.Now().Add(d).UnixNano())
	c.cut()
}

func (c *chaosClient) ends(reason string) {
	if c.ended == nil {
		c.ended = map[string]int64{}
	}
	c.ended[reason]++
}

// linger takes the time that a client of its temper, or an idle one, takes
// before it reads on.
func (c *chaosClient) linger(ctx context.Context) {
	if idle := time.Until(time.Unix(0, c.idleTill.Load())); idle > 0 {
		pause(ctx, c.hurry, idle)
	}
	if c.leisurely() {
		pause(ctx, c.hurry, time.Duration(c.random.Int64N(int64(slowRead))))
	}
}

// leisurely tells whether the client is slow just now.
func (c *chaosClient) leisurely() bool {
	return (c.temper == slowTemper || c.temper == siblingsTemper) && !over(context.Background(), c.hurry)
}

// open connects to one of the nodes.
func (c *chaosClient) open(ctx context.Context) (w carrier, err error) {
	node := c.nodes[c.random.IntN(len(c.nodes))]
	c.to = node.Name()
	switch c.temper {
	case pollingTemper:
		w, err = openPolls(ctx, node.Public)
	default:
		held := 0
		if c.leisurely() {
			held = slowHeld
		}
		w, err = openSocket(ctx, node.Public, c.version(), held)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wire = w
	return w, nil
}

func (c *chaosClient) version() string {
	if c.temper == oldTemper {
		return "1.0.0"
	}
	return "2.0.0"
}

// session is one connection, until it ends.
func (c *chaosClient) session(ctx context.Context) error {
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	defer context.AfterFunc(ctx, w.close)()
	c.sessions++
	for topic, seat := range c.seats {
		seat.went("connected to %s", c.to)
		if err := c.join(w, topic, seat); err != nil {
			return err
		}
	}
	beat := time.Now()
	leisurely := c.leisurely()
	for {
		c.linger(ctx)
		if leisurely && !c.leisurely() {
			return errWhim // the connection is as narrow as it was slow
		}
		text, err := w.next()
		if err != nil {
			return err
		}
		m, err := c.decode(text)
		if err != nil {
			c.breaks("%v", err)
			return err
		}
		if err := c.handle(w, m); err != nil {
			return err
		}
		if one := c.oneIn(); one > 0 && c.random.IntN(one) == 0 && !over(ctx, c.hurry) {
			if err := c.whim(w); err != nil {
				return err
			}
		}
		if now := time.Now(); now.Sub(beat) > chaosBeat {
			beat = now
			if err := c.send(w, "", "phoenix", "heartbeat", "{}"); err != nil {
				return err
			}
		}
	}
}

var errWhim = errors.New("benchmarks: a client that felt like it")

// oneIn says after how many messages a client feels like leaving, 0 for never.
func (c *chaosClient) oneIn() int {
	switch c.temper {
	case restlessTemper:
		return oneInWhim
	case lonelyTemper:
		return oneInLonely
	}
	return 0
}

// whim ends the connection, or leaves topics; the answer to that joins again.
func (c *chaosClient) whim(w carrier) error {
	if c.random.IntN(3) == 0 {
		return errWhim
	}
	for topic, seat := range c.seats {
		if seat.joined {
			if err := c.send(w, seat.join, topic, "phx_leave", "{}"); err != nil {
				return err
			}
		}
	}
	return nil
}

// join asks for what comes after what has arrived: from the beginning for the
// late, from now on for others that have nothing yet.
func (c *chaosClient) join(w carrier, topic string, s *seat) error {
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

func (c *chaosClient) send(w carrier, join, topic, event, payload string) error {
	c.refs++
	if c.temper == oldTemper {
		return w.send(fmt.Appendf(nil, `{"topic":%q,"event":%q,"payload":%s,"ref":"%d","join_ref":%q}`, topic, event, payload, c.refs, join))
	}
	return w.send(fmt.Appendf(nil, `[%q,"%d",%q,%q,%s]`, join, c.refs, topic, event, payload))
}

// chaosReply is what a client reads of an answer.
type chaosReply struct {
	Status   string
	Response struct {
		Offset  *int64
		Epoch   string
		Resumed bool
		Reason  string
	}
}

// chaosEvent is what a client reads of an event.
type chaosEvent struct {
	Offset *int64
	Data   struct {
		W      int
		N      *int64
		Forged *int64 // of a hostile client
	}
}

// handle takes in a message. An error ends the connection.
func (c *chaosClient) handle(w carrier, m phoenixMessage) error {
	s := c.seats[m.topic]
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
	case forgedEvent, "sluice_epoch":
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
func (c *chaosClient) move(s *seat, payload []byte) {
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

// written is an offset as it is told, or none.
func written(after *int64) string {
	if after == nil {
		return "nothing"
	}
	return strconv.FormatInt(*after, 10)
}

func (s *seat) moveTo(after int64) {
	s.after = &after
	s.reached.Store(after)
}

// answered is what PROTOCOL.md does when a join was answered.
func (c *chaosClient) answered(s *seat, payload []byte) error {
	var reply chaosReply
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
		if c.unseated--; c.unseated == 0 {
			close(c.seated)
		}
	}
	if s.epoch != response.Epoch {
		s.last = 0 // offsets may have begun again
	}
	s.epoch, s.joined = response.Epoch, true
	return nil
}

func (c *chaosClient) receive(s *seat, payload []byte) error {
	var event chaosEvent
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
	case event.Data.N == nil:
		c.breaks("an event that is none of ours: %.200s", payload)
	case s.note(*event.Offset, event.Data.W, *event.Data.N):
		c.arrived.Add(1)
	}
	return nil
}

// phoenixMessage is a message of either version.
type phoenixMessage struct {
	joinRef, ref, topic, event string
	payload                    json.RawMessage
}

func (c *chaosClient) decode(text []byte) (m phoenixMessage, err error) {
	var joinRef, ref *string
	if c.temper == oldTemper {
		object := struct {
			Topic   *string
			Event   *string
			Payload *json.RawMessage
			Ref     **string
		}{&m.topic, &m.event, &m.payload, &ref}
		err = json.Unmarshal(text, &object)
	} else {
		err = json.Unmarshal(text, &[]any{&joinRef, &ref, &m.topic, &m.event, &m.payload})
	}
	if err != nil {
		return m, fmt.Errorf("a message that is none: %.200s: %w", text, err)
	}
	if joinRef != nil {
		m.joinRef = *joinRef
	}
	if ref != nil {
		m.ref = *ref
	}
	return m, nil
}
