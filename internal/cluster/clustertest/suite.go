package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/cluster"
)

// Harness is a cluster without nodes, and the ways to it.
type Harness struct {
	// Join makes a bus of a node of that name, which the suite runs.
	Join func(t *testing.T, name string) cluster.Bus

	// Strangers make buses of other clusters that have the same means: of another name,
	// and of another installation.
	Strangers []func(t *testing.T) cluster.Bus

	// Cut has no node hear another, and Heal ends that. Both may take a while to be seen.
	Cut, Heal func(t *testing.T)

	// Lossy says that messages and answers may be lost and repeated, so that the suite
	// asks again.
	Lossy bool
}

// patience is how long something may take before it is taken for missing.
const patience = 5 * time.Minute

// again is how often something that has to come true is looked at.
const again = 5 * time.Millisecond

// Run runs the suite. harness is called once for each case.
func Run(t *testing.T, harness func(t *testing.T) Harness) {
	cases := []struct {
		name string
		test func(t *testing.T, h Harness)
	}{
		{"NodesMeet", testNodesMeet},
		{"NodesLeave", testNodesLeave},
		{"NodesComeBack", testNodesComeBack},
		{"NodesAreCutOff", testNodesAreCutOff},
		{"StrangersNeverMeet", testStrangersNeverMeet},
		{"OrderIsKept", testOrderIsKept},
		{"SubjectsAreApart", testSubjectsAreApart},
		{"SubscriptionsEnd", testSubscriptionsEnd},
		{"SizesAreBounded", testSizesAreBounded},
		{"SlowHandlersHarmNobody", testSlowHandlersHarmNobody},
		{"RunWaitsForHandlers", testRunWaitsForHandlers},
		{"RequestsAreAnswered", testRequestsAreAnswered},
		{"RequestsEnd", testRequestsEnd},
		{"AllAreAsked", testAllAreAsked},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, harness(t))
		})
	}
}

// member is a node of a case.
type member struct {
	cluster.Bus
	stop func() // ends Run; the case's end does so too

	mu      sync.Mutex
	watched [][]cluster.Node // what the watcher was told, guarded by mu
}

// join makes a node and runs it; setUp, unless it is nil, comes before.
func join(t *testing.T, h Harness, name string, setUp func(cluster.Bus)) *member {
	t.Helper()
	return runBus(t, h.Join(t, name), setUp)
}

func runBus(t *testing.T, bus cluster.Bus, setUp func(cluster.Bus)) *member {
	t.Helper()
	m := &member{Bus: bus}
	if setUp != nil {
		setUp(bus)
	}
	bus.Watch(func(nodes []cluster.Node) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.watched = append(m.watched, nodes)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run of %s: %v", bus.Self().Name, err)
		}
	})
	t.Cleanup(m.stop)
	return m
}

// three are nodes a, b and c that know each other.
func three(t *testing.T, h Harness, setUp func(cluster.Bus)) (a, b, c *member) {
	t.Helper()
	a, b, c = join(t, h, "a", setUp), join(t, h, "b", setUp), join(t, h, "c", setUp)
	meet(t, a, b, c)
	return a, b, c
}

// meet waits until all of them, and nobody else, know each other.
func meet(t *testing.T, members ...*member) {
	t.Helper()
	for _, m := range members {
		var others []string
		for _, other := range members {
			if other != m {
				others = append(others, other.Self().ID)
			}
		}
		slices.Sort(others)
		eventually(t, fmt.Sprintf("%s knowing all others", m.Self().Name), func() bool {
			return slices.Equal(slices.Sorted(slices.Values(ids(m.Nodes()))), others)
		})
	}
}

func ids(nodes []cluster.Node) []string {
	var ids []string
	for _, node := range nodes {
		ids = append(ids, node.ID)
	}
	return ids
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ticker := time.NewTicker(again)
	defer ticker.Stop()
	late := time.After(patience)
	for !happened() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// ear is a subscription, and what it has heard: from whom, and what.
type ear struct {
	end func()

	mu    sync.Mutex
	heard []cluster.Message // guarded by mu
	hold  sync.Mutex        // held by who wants the handler to wait
}

func listen(t *testing.T, bus cluster.Bus, subject string) *ear {
	t.Helper()
	e := &ear{}
	end, err := bus.Subscribe(subject, func(m cluster.Message) {
		e.hold.Lock()
		defer e.hold.Unlock()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, cluster.Message{From: m.From, Data: slices.Clone(m.Data)})
	})
	if err != nil {
		t.Fatal(err)
	}
	e.end = end
	return e
}

const probe = "probe"

// all is what was heard, but for probes, each as it came.
func (e *ear) all() (heard []cluster.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range e.heard {
		if !strings.HasPrefix(string(m.Data), probe) {
			heard = append(heard, m)
		}
	}
	return heard
}

// count is how many messages were heard, probes too.
func (e *ear) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.heard)
}

// has tells whether a text was heard from a node.
func (e *ear) has(from cluster.Bus, text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.heard, func(m cluster.Message) bool {
		return m.From == from.Self().ID && string(m.Data) == text
	})
}

var probes struct {
	mu    sync.Mutex
	count int
}

// reach publishes probes to a subject until it was heard by all ears.
func reach(t *testing.T, from cluster.Bus, subject string, ears ...*ear) {
	t.Helper()
	probes.mu.Lock()
	probes.count++
	text := fmt.Sprint(probe, probes.count)
	probes.mu.Unlock()
	eventually(t, from.Self().Name+" being heard", func() bool {
		_ = from.Publish(subject, []byte(text)) // it may be away
		return !slices.ContainsFunc(ears, func(e *ear) bool { return !e.has(from, text) })
	})
}

// publish publishes: see tryPublish.
func publish(t *testing.T, from cluster.Bus, subject string, data []byte) {
	t.Helper()
	if err := tryPublish(from, subject, data); err != nil {
		t.Fatalf("%s publishes: %v", from.Self().Name, err)
	}
}

// tryPublish publishes, again while the bus takes in no more, or is away for a moment, as on
// a machine that does not get round to answering pings. Any goroutine may call it.
func tryPublish(from cluster.Bus, subject string, data []byte) error {
	for began := time.Now(); ; <-time.After(again) {
		err := from.Publish(subject, data)
		if !errors.Is(err, cluster.ErrBusy) && !errors.Is(err, cluster.ErrAway) || time.Since(began) > patience {
			return err
		}
	}
}

// ask requests, again where an answer may be lost, and while a node that is there is not
// heard, as on a machine that does not let it speak.
func ask(t *testing.T, h Harness, from cluster.Bus, node, kind string, data []byte) ([]byte, error) {
	t.Helper()
	for began := time.Now(); ; {
		limit := patience
		if h.Lossy {
			limit = time.Second
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		answer, err := from.Request(ctx, node, kind, data)
		late := ctx.Err() != nil
		cancel()
		unheard := errors.Is(err, cluster.ErrUnknownNode) || errors.Is(err, cluster.ErrAway)
		if !unheard && (!late || !h.Lossy) || time.Since(began) > patience {
			return answer, err
		}
		<-time.After(again)
	}
}
