package clustertest

import (
	"errors"
	"slices"
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
)

func testNodesMeet(t *testing.T, h Harness) {
	a, b, c := three(t, h, nil)
	for _, m := range []*member{a, b, c} {
		if self := m.Self(); self.ID == "" || self.Name == "" || self.Started.IsZero() {
			t.Errorf("a node says that it is %+v", self)
		}
		eventually(t, m.Self().Name+" connected, and its watcher told", func() bool {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.Connected() == nil && len(m.watched) > 0
		})
		m.mu.Lock()
		if slices.ContainsFunc(m.watched, func(nodes []cluster.Node) bool {
			return slices.Contains(ids(nodes), m.Self().ID)
		}) {
			t.Errorf("the watcher of %s was told %v", m.Self().Name, m.watched)
		}
		m.mu.Unlock()
	}
	nodes := b.Nodes()
	if len(nodes) != 2 || nodes[0].Name != "a" || nodes[1].Name != "c" || nodes[0].Version != a.Self().Version || !nodes[0].Started.Equal(a.Self().Started) {
		t.Errorf("b knows %+v", nodes)
	}
	eventually(t, "the watcher of b told of both", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Equal(ids(b.watched[len(b.watched)-1]), ids(nodes))
	})
}

// testNodesLeave has a node stop: others hear of it, and it says no more.
func testNodesLeave(t *testing.T, h Harness) {
	a, b, c := three(t, h, nil)
	c.stop()
	meet(t, a, b)
	eventually(t, "the watcher of a told", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.watched) > 0 && slices.Equal(ids(a.watched[len(a.watched)-1]), []string{b.Self().ID})
	})
	if err := c.Publish("s", nil); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("who has left publishes: %v", err)
	}
	if _, err := c.Request(t.Context(), a.Self().ID, "echo", nil); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("who has left asks: %v", err)
	}
	if err := c.Connected(); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("who has left is connected: %v", err)
	}
	if nodes := c.Nodes(); len(nodes) > 0 {
		t.Errorf("who has left knows %v", nodes)
	}
	if _, err := a.Request(t.Context(), c.Self().ID, "echo", nil); !errors.Is(err, cluster.ErrUnknownNode) {
		t.Errorf("who has left is asked: %v", err)
	}
}

// testNodesComeBack has a node be another one after a restart, whatever its name is.
func testNodesComeBack(t *testing.T, h Harness) {
	a, b, c := three(t, h, nil)
	at := listen(t, a, "s")
	reach(t, c, "s", at)
	c.stop()
	again := join(t, h, "c", nil)
	meet(t, a, b, again)
	if again.Self().ID == c.Self().ID {
		t.Error("two lives of a process have one id")
	}
	if _, err := a.Request(t.Context(), c.Self().ID, "echo", nil); !errors.Is(err, cluster.ErrUnknownNode) {
		t.Errorf("the life before is asked: %v", err)
	}
	reach(t, again, "s", at)
}

// testNodesAreCutOff has nodes forget each other, and hear each other again by the
// subscriptions that they had.
func testNodesAreCutOff(t *testing.T, h Harness) {
	a, b, c := three(t, h, func(bus cluster.Bus) { bus.Answer("echo", echo) })
	all := []*member{a, b, c}
	var ears []*ear
	for _, m := range all {
		ears = append(ears, listen(t, m, "s"))
	}
	for range 2 {
		h.Cut(t)
		for _, m := range all {
			eventually(t, m.Self().Name+" knowing nobody", func() bool { return len(m.Nodes()) == 0 })
			if err := m.Publish("s", []byte("lost")); err != nil && !errors.Is(err, cluster.ErrAway) {
				t.Errorf("%s, cut off, publishes: %v", m.Self().Name, err)
			}
			if _, err := m.Request(t.Context(), a.Self().ID, "echo", nil); !errors.Is(err, cluster.ErrAway) && !errors.Is(err, cluster.ErrUnknownNode) {
				t.Errorf("%s, cut off, asks: %v", m.Self().Name, err)
			}
		}
		h.Heal(t)
		meet(t, all...)
		for i, m := range all {
			reach(t, m, "s", ears[(i+1)%3], ears[(i+2)%3])
			if answer, err := ask(t, h, m, all[(i+1)%3].Self().ID, "echo", []byte("x")); err != nil || string(answer) != "x" {
				t.Errorf("%s asks: %q, %v", m.Self().Name, answer, err)
			}
		}
	}
	for _, e := range ears {
		for _, m := range e.all() {
			t.Errorf("%s came from %s, from which this node was cut off", m.Data, m.From)
		}
	}
}

// testStrangersNeverMeet has nodes of other clusters say the same on the same means.
func testStrangersNeverMeet(t *testing.T, h Harness) {
	a, b, c := three(t, h, func(bus cluster.Bus) { bus.Answer("echo", echo) })
	ours := []*ear{listen(t, a, "s"), listen(t, b, "s")}
	for _, stranger := range h.Strangers {
		bus := stranger(t)
		other := runBus(t, bus, nil)
		theirs := listen(t, other, "s")
		eventually(t, "the stranger connected", func() bool { return other.Connected() == nil })
		for range 20 {
			reach(t, c, "s", ours...)
			publish(t, other, "s", []byte("strange"))
		}
		if len(other.Nodes()) > 0 || theirs.count() > 0 {
			t.Errorf("the stranger knows %v and has heard %d messages", other.Nodes(), theirs.count())
		}
		if _, err := other.Request(t.Context(), a.Self().ID, "echo", nil); !errors.Is(err, cluster.ErrUnknownNode) {
			t.Errorf("the stranger asks: %v", err)
		}
		if len(other.RequestAll(t.Context(), "echo", nil)) > 0 {
			t.Error("the stranger was answered")
		}
	}
	meet(t, a, b, c)
	for _, e := range ours {
		for _, m := range e.all() {
			t.Errorf("%q of a stranger was heard", m.Data)
		}
	}
}
