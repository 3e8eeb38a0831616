package channels

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
)

// audience is many connections with one channel each, as the benchmarks have
// them: with all that a node keeps of them and counts, and a writer that takes
// as a connection's would, but writes to nobody.
type audience struct {
	hub    *Hub
	host   *Host
	group  sync.WaitGroup
	topics []*crowd
}

// crowd is who watches one topic, and what is said there.
type crowd struct {
	segment  *outbound.Segment
	offsets  []int64 // the segment's
	watchers []*watcher
	batch    outbound.WriteBatch // of whoever takes what they get
}

// watcher is a connection.
type watcher struct {
	conn  *outbound.Connection
	actor *Actor
	woken bool // guarded by the connection
}

// listener is a Channel that does nothing but listen.
type listener struct{}

func (listener) Join(*Context, Payload) (any, error) { return nil, nil }

// terse is an Encoder that costs next to nothing.
type terse struct{}

func (terse) AppendMessage(dst []byte, _ outbound.Format, m *Message) ([]byte, error) {
	return append(dst, m.Payload...), nil
}

func (terse) AppendPush(dst []byte, _ outbound.Format, _ outbound.Address, _ string, p Payload) ([]byte, error) {
	return append(dst, p.Data...), nil
}

func (terse) AppendReply(dst []byte, _ outbound.Format, _ outbound.Address, _ outbound.Status, p Payload) ([]byte, error) {
	return append(dst, p.Data...), nil
}

// newAudience has so many connections join each topic, with a rule of their
// own. What is said there is segments of so many messages.
func newAudience(t testing.TB, topics, each, messages int, d Options) *audience {
	a := &audience{hub: NewHub(newMetrics(t))}
	var err error
	a.host, err = NewHost(HostConfig{
		Hub: a.hub, PubSub: NewPubSub(a.hub, terse{}), Encoder: terse{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	NewReplayer(a.hub, nil, terse{}, 64<<20) // so that the hub remembers what it routes
	for i := range topics {
		topic := "topic:" + strconv.Itoa(i)
		c := &crowd{segment: spoken(t, topic, messages, d)}
		c.offsets = offsetsOf(c.segment)
		for range each {
			c.watchers = append(c.watchers, a.join(topic, d))
			a.group.Wait() // one at a time: goroutines that have ended are not part of what is measured
		}
		a.topics = append(a.topics, c)
	}
	for _, c := range a.topics {
		a.take(c)
	}
	return a
}

// spoken is a segment of messages of a usual size.
func spoken(t testing.TB, topic string, messages int, d Options) *outbound.Segment {
	b := outbound.NewBuilder(terse{})
	b.Start(outbound.Audience{Topic: topic, Formats: newLine(NewHub(nil), 1, 1).mailbox(d).Needs()})
	for i := range messages {
		m := Message{Offset: int64(i + 1), Topic: topic, Event: "e", Key: strconv.AppendInt(nil, int64(i), 10),
			Payload: make([]byte, 128), InsertedAt: time.Unix(1, 0)}
		if err := b.Add(&m); err != nil {
			t.Fatal(err)
		}
	}
	return b.Segment()
}

func (a *audience) join(topic string, d Options) *watcher {
	w := new(watcher)
	w.conn = outbound.NewConnection(a.hub, outbound.ConnectionConfig{
		Replies: 100, Bytes: 1 << 20, Wake: func() { w.woken = true }, Overflow: func() {}})
	w.actor = a.host.Join(JoinRequest{
		To:         outbound.Address{Topic: topic, JoinRef: "1", Ref: "1"},
		Params:     emptyObject,
		Factory:    func() Channel { return listener{} },
		Options:    d,
		Socket:     func() *Socket { return nil },
		Connection: w.conn,
		Context:    context.Background(),
		Group:      &a.group,
		Ended:      func(*Actor) {},
	})
	return w
}

// say has a topic's messages routed once more, with the offsets that come next.
func (a *audience) say(c *crowd) {
	for i := range c.offsets { // all of it has been taken: nobody looks at it
		c.offsets[i] += int64(len(c.offsets))
	}
	a.hub.Route(c.segment)
}

// take does what the writers of all those do that have been woken.
func (a *audience) take(c *crowd) {
	for _, w := range c.watchers {
		if !w.woken {
			continue
		}
		w.woken = false
		for w.conn.Take(&c.batch, 256<<10, 64) {
			c.batch.Written()
		}
	}
}
