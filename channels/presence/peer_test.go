package presence

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// nodes runs some nodes that know each other.
func nodes(t *testing.T, n int, change func(*Config)) (*network, []*testNode) {
	t.Helper()
	net := newNetwork(7)
	var all []*testNode
	for i := range n {
		all = append(all, runNode(t, net, fmt.Sprint("node", i), change))
	}
	time.Sleep(5 * time.Second) // of the test's own clock
	return net, all
}

func stopAll(all []*testNode) {
	for _, n := range all {
		n.stop()
	}
}

func (n *testNode) enter(key, meta string) *Presence {
	n.t.Helper()
	p, err := n.Track("t", key, meta)
	if err != nil {
		n.t.Fatal(err)
	}
	return p
}

// sees checks who is there, by key and meta.
func (n *testNode) sees(what string, who ...string) {
	n.t.Helper()
	want := map[string]int{}
	for _, one := range who {
		want[one]++
	}
	if seen := n.seen("t"); !maps.Equal(seen, want) && len(seen)+len(want) > 0 {
		n.t.Errorf("%s: %s sees %v, not %v", what, n.name, seen, want)
	}
}

// A node that shuts down says so. Who comes to another within the grace is updated there,
// and never leaves in anybody's sight; who does not, leaves when that is over.
func TestWhoComesBackFromANodeThatShutsDownNeverLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, all := nodes(t, 3, nil)
		for _, key := range []string{"ann", "ann", "ben"} {
			all[0].enter(key, `{}`)
		}
		time.Sleep(time.Second) // of the test's own clock
		all[0].Leave()
		all[0].stop()
		time.Sleep(Grace / 2) // of the test's own clock
		all[1].sees("in the grace", "ann {}", "ann {}", "ben {}")
		all[2].enter("ann", `{"back":true}`)
		time.Sleep(time.Second) // of the test's own clock
		for _, n := range all[1:] {
			n.sees("one is back", `ann {"back":true}`, "ann {}", "ben {}")
			if _, flapped, updates := n.heard(); flapped != "" || updates != 1 {
				t.Errorf("%s saw %s leave, and %d updates", n.name, flapped, updates)
			}
		}
		time.Sleep(Grace) // of the test's own clock
		for _, n := range all[1:] {
			n.sees("after the grace", `ann {"back":true}`)
			if _, flapped, _ := n.heard(); flapped != "ben" {
				t.Errorf("%s saw %s leave", n.name, flapped)
			}
		}
		stopAll(all)
	})
}

// What a node that is silent has leaves, and comes again with it without being fetched if
// nothing was missed; for longer than Permdown nothing is kept.
func TestANodeThatIsSilent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, err := metrics.New(metrics.Config{Prefix: "t."})
		if err != nil {
			t.Fatal(err)
		}
		net, all := nodes(t, 2, func(c *Config) { c.Metrics = set })
		fetches := set.Counter(metrics.PresenceFetches)
		all[0].enter("ann", `{}`)
		time.Sleep(time.Second) // of the test's own clock
		before := fetches.Value()
		cut := func() {
			net.mu.Lock()
			net.cut[[2]string{"node0", "node1"}] = true
			net.mu.Unlock()
		}
		cut()
		time.Sleep(SilentAfter + time.Second) // of the test's own clock
		all[1].sees("silent")
		net.heal()
		time.Sleep(3 * time.Second) // of the test's own clock
		all[1].sees("heard again", "ann {}")
		if fetches.Value() != before {
			t.Error("what had not been missed was fetched")
		}
		cut()
		ben := all[0].enter("ben", `{}`)
		time.Sleep(2 * time.Minute) // of the test's own clock
		if held := all[1].Held(); held != 0 {
			t.Errorf("%d presences are kept of a node that has been silent for too long", held)
		}
		net.heal()
		time.Sleep(5 * time.Second) // of the test's own clock
		all[1].sees("fetched", "ann {}", "ben {}")
		ben.Leave()
		time.Sleep(time.Second) // of the test's own clock
		all[1].sees("left", "ann {}")
		stopAll(all)
	})
}

// Another life of a node has nothing of the one before.
func TestANodeThatIsKilledAndStartsAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net, all := nodes(t, 2, nil)
		all[0].enter("ann", `{}`)
		time.Sleep(time.Second) // of the test's own clock
		all[0].stop()
		again := runNode(t, net, "node0", nil)
		time.Sleep(time.Second) // of the test's own clock: less than it takes to be silent
		again.enter("ben", `{}`)
		time.Sleep(time.Second) // of the test's own clock
		all[1].sees("another life", "ben {}")
		stopAll(append(all, again))
	})
}

// Many who come at once are few messages between nodes, too; with more than one message
// holds, all arrive, and all can be fetched.
func TestManyAtOnceBetweenNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const joins = 9000
		net, all := nodes(t, 2, nil)
		before := net.messages()
		meta := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", 100))
		for i := range joins {
			all[0].enter(fmt.Sprint("user", i), meta)
		}
		time.Sleep(time.Second) // of the test's own clock
		if sent := net.messages() - before; sent > 20 {
			t.Errorf("%d messages for %d joins", sent, joins)
		}
		late := runNode(t, net, "late", nil)
		time.Sleep(5 * time.Second) // of the test's own clock
		for _, n := range append(all, late) {
			if got := n.Count("t"); got != joins {
				t.Errorf("%s has %d of %d", n.name, got, joins)
			}
			if seen := n.seen("t"); len(seen) != DefaultMax {
				t.Errorf("clients of %s are told of %d", n.name, len(seen))
			}
		}
		if !maps.Equal(all[0].seen("t"), late.seen("t")) {
			t.Error("nodes do not list the same")
		}
		stopAll(append(all, late))
	})
}

// Of more than are listed those with the lowest refs are, and the next one is when one of
// them leaves.
func TestMoreThanAreListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		most := 3
		n := runNode(t, nil, "", func(c *Config) { c.Listed = func(string) int { return most } })
		var all []*Presence
		for i := range 5 {
			all = append(all, n.enter(fmt.Sprint(i), "{}"))
		}
		time.Sleep(time.Second) // of the test's own clock
		n.sees("full", "0 {}", "1 {}", "2 {}")
		if entries, total := n.List("t"); total != 5 || len(entries) != 3 {
			t.Errorf("%d of %d are listed", len(entries), total)
		}
		all[1].Leave()
		if err := all[0].Update(`{"x":1}`); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // of the test's own clock
		n.sees("one has left", `0 {"x":1}`, "2 {}", "3 {}")
		most = 1
		all[3].Leave()
		time.Sleep(time.Second) // of the test's own clock
		n.sees("fewer are listed", `0 {"x":1}`)
		most = 10
		all[4].Leave()
		time.Sleep(time.Second) // of the test's own clock
		n.sees("more are listed", `0 {"x":1}`, "2 {}")
		all[0].Leave()
		all[2].Leave()
		time.Sleep(time.Second) // of the test's own clock
		n.sees("nobody")
		n.stop()
	})
}

// Who comes and goes within an interval is told to nobody.
func TestWhatIsOverWithinAnInterval(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net, all := nodes(t, 2, nil)
		before := net.messages()
		for range 50 {
			all[0].enter("ann", "{}").Leave()
		}
		time.Sleep(300 * time.Millisecond) // of the test's own clock
		here, _, _ := all[0].heard()
		there, _, _ := all[1].heard()
		if sent := net.messages() - before; here+there != 0 || sent > 2 { // beats
			t.Errorf("clients are told %d and %d times, nodes %d times", here, there, sent)
		}
		ann := all[0].enter("ann", "{}")
		for i := range 100 {
			if err := ann.Update(fmt.Sprintf(`{"n":%d}`, i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // of the test's own clock
		}
		time.Sleep(2 * time.Second) // of the test's own clock
		all[1].sees("updated", `ann {"n":99}`)
		if told, _, _ := all[1].heard(); told > 4 {
			t.Errorf("of updates within a second clients are told %d times", told)
		}
		stopAll(all)
	})
}

// What no node of ours would send is counted, and shown to nobody.
func TestWhatOtherNodesSendIsChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, err := metrics.New(metrics.Config{Prefix: "t."})
		if err != nil {
			t.Fatal(err)
		}
		_, all := nodes(t, 1, func(c *Config) { c.Metrics = set })
		n := all[0]
		rejected := func(reason string) int64 {
			return set.Counter(metrics.PresenceRejected, metrics.Reason(reason)).Value()
		}
		join := func(topic, key, meta string, first, state uint64) []byte {
			v := &view{key: key, meta: meta, id: ref{n: first}, ref: ref{n: state}}
			return append(appendPacket(nil, kindOps, "evil", 1, 1), appendOp(nil, topic, nil, v)...)
		}
		good := join("t", "k", "{}", 1, 1)
		for i := range good {
			n.receive("00000000000000ff", good[:i])
		}
		n.receive("00000000000000ff", append(append([]byte{}, good...), 0))
		n.receive("not an id", good)
		if got := rejected("garbled"); got != int64(len(good))+2 {
			t.Errorf("%d messages are garbled, of %d", got, len(good)+2)
		}
		other := append([]byte{}, good...)
		other[2] = 2
		n.receive("00000000000000ff", other)
		if got := rejected("version"); got != 1 {
			t.Errorf("%d messages are of another version", got)
		}
		before := rejected("invalid")
		bad := [][]byte{
			join("", "k", "{}", 1, 1), join("t\x00", "k", "{}", 1, 1), join("t", "", "{}", 1, 1), join("t", "__proto__", "{}", 1, 1),
			join("t", "k", "", 1, 1), join("t", "k", "[]", 1, 1), join("t", "k", `{"a":1}}`, 1, 1), join("t", "k", `{ }`, 1, 1),
			join("t", "k", `{"phx_ref":"x"}`, 1, 1), join("t", "k", "{}", 0, 1), join("t", "k", "{}", 2, 1), join("t", "k", "{}", 1, 1<<48),
			join("t", "k", "{\"a\":\"\xff\"}", 1, 1),
		}
		for _, data := range bad {
			n.receive("00000000000000ff", data)
		}
		if got := rejected("invalid") - before; got != int64(len(bad)) {
			t.Errorf("%d ops are invalid, of %d", got, len(bad))
		}
		time.Sleep(time.Second) // of the test's own clock
		n.sees("checked")
		n.stop()
	})
}
