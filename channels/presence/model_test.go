package presence

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// plans is how many random plans are tried: more by the environment.
func plans() int {
	if n, err := strconv.Atoi(os.Getenv("PRESENCE_PLANS")); err == nil {
		return n
	}
	return 60
}

// session is a client's presence, and where it is: the truth.
type session struct {
	node       *testNode
	topic, key string
	meta       string
	presence   *Presence
}

// world is three nodes, their clients and the network between them, by a plan that its
// seed draws.
type world struct {
	t        *testing.T
	rand     *rand.Rand
	net      *network
	nodes    []*testNode // nil while one is down
	sessions []*session
	change   func(*Config)
}

func (w *world) start(i int) {
	w.nodes[i] = runNode(w.t, w.net, fmt.Sprint("node", i), w.change)
}

func (w *world) up() (list []int) {
	for i, n := range w.nodes {
		if n != nil {
			list = append(list, i)
		}
	}
	return list
}

func (w *world) enter(n *testNode, topic, key, meta string) {
	p, err := n.Track(topic, key, meta)
	if err == ErrFull {
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.sessions = append(w.sessions, &session{n, topic, key, meta, p})
}

// step does one thing at random.
func (w *world) step() {
	up := w.up()
	some := func() *session {
		if len(w.sessions) == 0 {
			return nil
		}
		return w.sessions[w.rand.IntN(len(w.sessions))]
	}
	switch k := w.rand.IntN(100); {
	case k < 35 && len(up) > 0:
		n := w.nodes[up[w.rand.IntN(len(up))]]
		w.enter(n, fmt.Sprint("room", w.rand.IntN(3)), fmt.Sprint("user", w.rand.IntN(6)), fmt.Sprintf(`{"n":%d}`, w.rand.IntN(9)))
	case k < 55:
		if s := some(); s != nil {
			w.end(func(each *session) bool { return each == s })
		}
	case k < 70:
		if s := some(); s != nil {
			s.meta = fmt.Sprintf(`{"n":%d}`, w.rand.IntN(9))
			if err := s.presence.Update(s.meta); err != nil {
				w.t.Fatal(err)
			}
		}
	case k < 74 && len(up) > 1: // killed
		i := up[w.rand.IntN(len(up))]
		n := w.nodes[i]
		w.nodes[i] = nil
		n.stop()
		w.sessions = without(w.sessions, func(s *session) bool { return s.node == n })
	case k < 78 && len(up) > 1: // shut down: its clients come to another
		i := up[w.rand.IntN(len(up))]
		n := w.nodes[i]
		w.nodes[i] = nil
		n.Leave()
		var homeless []*session
		for _, s := range w.sessions {
			if s.node == n {
				homeless = append(homeless, s)
			}
		}
		w.end(func(s *session) bool { return s.node == n })
		w.pause()
		n.stop()
		for _, s := range homeless {
			up := w.up()
			w.enter(w.nodes[up[w.rand.IntN(len(up))]], s.topic, s.key, s.meta)
		}
	case k < 86 && len(up) < len(w.nodes):
		for i, n := range w.nodes {
			if n == nil {
				w.start(i)
				break
			}
		}
	case k < 90:
		w.net.mu.Lock()
		w.net.cut[[2]string{fmt.Sprint("node", w.rand.IntN(3)), fmt.Sprint("node", w.rand.IntN(3))}] = true
		w.net.mu.Unlock()
	case k < 94:
		w.net.heal()
	case k < 97:
		w.net.mu.Lock()
		w.net.drop, w.net.again, w.net.slow = w.rand.Float64()/3, w.rand.Float64()/2, time.Duration(1+w.rand.IntN(3000))*time.Millisecond
		w.net.mu.Unlock()
	default:
		time.Sleep(time.Duration(w.rand.IntN(90)) * time.Second) // of the test's own clock
	}
}

func without(list []*session, gone func(*session) bool) (left []*session) {
	for _, s := range list {
		if !gone(s) {
			left = append(left, s)
		}
	}
	return left
}

// end ends some sessions; all the same twice.
func (w *world) end(which func(*session) bool) {
	for _, s := range w.sessions {
		if which(s) {
			s.presence.Leave()
			s.presence.Leave()
		}
	}
	w.sessions = without(w.sessions, which)
}

func (w *world) pause() {
	time.Sleep(time.Duration(w.rand.IntN(400)) * time.Millisecond) // of the test's own clock
}

// settled checks that all nodes agree with the truth.
func (w *world) settled(what string) {
	w.t.Helper()
	truth := map[string]map[string]int{}
	for _, s := range w.sessions {
		if truth[s.topic] == nil {
			truth[s.topic] = map[string]int{}
		}
		truth[s.topic][s.key+" "+s.meta]++
	}
	for _, i := range w.up() {
		n := w.nodes[i]
		for room := range 3 {
			topic := fmt.Sprint("room", room)
			if seen := n.seen(topic); !maps.Equal(seen, truth[topic]) && len(seen)+len(truth[topic]) > 0 {
				w.t.Errorf("%s: clients of node%d see in %s %v, and there are %v", what, i, topic, seen, truth[topic])
			}
			if _, total := n.List(topic); total != n.Count(topic) {
				w.t.Errorf("%s: %d are listed and %d counted", what, total, n.Count(topic))
			}
		}
	}
}

// forgotten checks that nothing is kept of what is over.
func (w *world) forgotten(what string) {
	w.t.Helper()
	for _, i := range w.up() {
		n := w.nodes[i]
		if held := n.Held(); held != len(w.sessions) {
			w.t.Errorf("%s: node%d holds %d presences of %d", what, i, held, len(w.sessions))
		}
		n.Tracker.mu.Lock()
		members := 0
		for _, tp := range n.topics {
			members += len(tp.members)
			if len(tp.leaving) > 0 || len(tp.dirty) > 0 {
				w.t.Errorf("%s: %d leaving, %d dirty members are kept", what, len(tp.leaving), len(tp.dirty))
			}
		}
		if peers := len(w.up()) - 1; members != len(w.sessions) || len(n.peers) != peers || len(n.delayed)+len(n.unsent) > 0 || len(n.own) > 2*len(w.sessions)+1 {
			w.t.Errorf("%s: %d members, %d peers, %d delayed, %d unsent, %d own are kept", what, members, len(n.peers), len(n.delayed), len(n.unsent), len(n.own))
		}
		n.Tracker.mu.Unlock()
	}
}

// The lists of all nodes are the sessions that there are, once the network has healed,
// whatever happened before: nobody is missing, and nobody is there who is not.
func TestListsAreTheSessionsThatThereAre(t *testing.T) {
	t.Parallel()
	for seed := range uint64(plans()) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 2)), net: newNetwork(seed), nodes: make([]*testNode, 3)}
			if seed%3 == 2 { // so that there is not room for all at times
				w.change = func(c *Config) { c.Max = 40 }
			}
			for i := range w.nodes {
				w.start(i)
			}
			for range 4 {
				for range 40 {
					w.step()
					w.pause()
				}
				w.net.heal()
				if seed%3 == 2 {
					kept := max(0, len(w.sessions)-20)
					gone := map[*session]bool{}
					for _, each := range w.sessions[:kept] {
						gone[each] = true
					}
					w.end(func(each *session) bool { return gone[each] })
				}
				time.Sleep(20 * time.Second) // of the test's own clock
				w.settled(fmt.Sprint("plan ", seed))
			}
			time.Sleep(2 * time.Minute) // of the test's own clock: what was kept of nodes that have gone is forgotten
			w.forgotten(fmt.Sprint("plan ", seed))
			for _, i := range w.up() {
				w.nodes[i].stop()
			}
		})
		if t.Failed() {
			return
		}
	}
}
