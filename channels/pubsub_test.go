package channels

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/store"
)

// listening remembers the segments that it is given, as frames.
type listening struct{ got []string }

func (l *listening) Deliver(seg *outbound.Segment, _ time.Time) {
	var text []string
	for i := range seg.Len() {
		m := seg.Message(i)
		text = append(text, fmt.Sprintf("%s %s %v", m.Event, m.Payload, m.Binary))
	}
	l.got = append(l.got, strings.Join(text, ", "))
}

// TestDeliver has what comes from another node cut into segments that mailboxes take:
// binary messages by themselves, and what cannot be encoded left out.
func TestDeliver(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	p := NewPubSub(hub, fragile{})
	message := func(event, payload string, binary bool) Message {
		return Message{Topic: "t", Event: event, Payload: []byte(payload), Binary: binary}
	}
	all := []Message{
		message("a", "{}", false), message("b", "{}", false), message("c", "{}", false), message("d", "{}", false),
		message("e", "\x00", true), message("f", "\xff", true), message("g", `{"long": "long"}`, false), message("h", "{}", false)}
	if n, err := p.Deliver("t", all); n != 0 || err != nil {
		t.Errorf("to nobody: %d, %v", n, err)
	}
	l := &listening{}
	defer subscribe(hub, "t", outbound.Formats(outbound.Raw), l).Cancel()
	n, err := p.Deliver("t", all[:2])
	if got := strings.Join(l.got, "; "); n != 2 || err != nil || got != "a {} false; b {} false" {
		t.Errorf("without bounds: %d, %v, %s", n, err, got)
	}
	l.got = nil
	p.Segments(3, 10)
	n, err = p.Deliver("t", all)
	const want = `a {} false, b {} false, c {} false; d {} false; e ` + "\x00" + ` true, f ` + "\xff" + ` true; g {"long": "long"} false; h {} false`
	if got := strings.Join(l.got, "; "); n != len(all) || err != nil || got != want {
		t.Errorf("%d, %v, %s", n, err, got)
	}
}

// elsewhere is the other nodes.
type elsewhere struct {
	sent []string
	err  error
	here *listening // what this node's subscriber has had when Send is called
	seen int
}

func (e *elsewhere) Send(m *Message) error {
	e.seen = len(e.here.got)
	if e.err == nil {
		e.sent = append(e.sent, m.Event+" "+string(m.Payload))
	}
	return e.err
}

// TestBroadcastElsewhere has a broadcast go to other nodes first, and to nobody if that
// fails, or if it is none.
func TestBroadcastElsewhere(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	p := NewPubSub(hub, fragile{})
	l := &listening{}
	e := &elsewhere{here: l}
	p.SetRemote(e)
	m := &Message{Topic: "t", Event: "e", Payload: []byte("{}")}
	if err := p.Broadcast(m, nil); err != nil || len(e.sent) != 1 {
		t.Errorf("with nobody here: %v, %q", err, e.sent)
	}
	defer subscribe(hub, "t", outbound.Formats(outbound.Raw), l).Cancel()
	if err := p.Broadcast(m, nil); err != nil || len(e.sent) != 2 || len(l.got) != 1 || e.seen != 0 {
		t.Errorf("%v, sent %q, after %d of %q", err, e.sent, e.seen, l.got)
	}
	if err := p.Broadcast(m, l); err != nil || len(e.sent) != 3 || len(l.got) != 1 {
		t.Errorf("to all but one: %v, sent %q, had %q", err, e.sent, l.got)
	}
	e.err = errors.New("away")
	if err := p.Broadcast(m, nil); !errors.Is(err, e.err) || len(l.got) != 1 {
		t.Errorf("%v, had %q", err, l.got)
	}
	e.err = nil
	invalid := new(store.InvalidError)
	if err := p.Broadcast(&Message{Topic: "t", Event: "phx_close", Payload: []byte("{}")}, nil); !errors.As(err, &invalid) || len(e.sent) != 3 {
		t.Errorf("%v, sent %q", err, e.sent)
	}
}

// interested counts the topics that it is told of.
type interested struct {
	topics  [2]atomic.Int64 // by how they begin
	entered atomic.Int64
}

func (i *interested) Enter(topic string) {
	i.topics[topic[0]-'a'].Add(1)
	i.entered.Add(1)
}

func (i *interested) Leave(topic string) { i.topics[topic[0]-'a'].Add(-1) }

// TestInterest has topics told once each, by their first subscribers and their last.
func TestInterest(t *testing.T) {
	t.Parallel()
	hub := NewHub(nil)
	i := &interested{}
	hub.SetInterest(i)
	var one, two, three Subscription
	for _, step := range []struct {
		do      func()
		a, b, n int64
	}{
		{func() { one.Init(hub, "a", &ear{}); two.Init(hub, "a", &ear{}); three.Init(hub, "b", &ear{}) }, 0, 0, 0},
		{func() { one.Enter(1) }, 1, 0, 1},
		{func() { two.Enter(1) }, 1, 0, 1},
		{func() { three.Enter(1) }, 1, 1, 2},
		{one.Cancel, 1, 1, 2},
		{one.Cancel, 1, 1, 2},
		{two.Cancel, 0, 1, 2},
		{two.Cancel, 0, 1, 2},
		{three.Cancel, 0, 0, 2},
	} {
		step.do()
		if a, b, n := i.topics[0].Load(), i.topics[1].Load(), i.entered.Load(); a != step.a || b != step.b || n != step.n {
			t.Errorf("%d and %d after %d, want %d and %d after %d", a, b, n, step.a, step.b, step.n)
		}
	}
	var crowd sync.WaitGroup
	for range 8 {
		crowd.Go(func() {
			for range 1000 {
				subscribe(hub, "a", 1, &ear{}).Cancel()
			}
		})
	}
	crowd.Wait()
	if a := i.topics[0].Load(); a != 0 {
		t.Errorf("%d topics are left of none", a)
	}
}
