package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/metrics"
)

// said is what a node of a test says to another: its messages, one after the other.
type said struct {
	t      *testing.T
	seal   *seal
	node   Node
	number uint64
}

func (s *said) message(subject string, data []byte) wired {
	s.number++
	return wired{s.seal.wrap(subject, s.number, data)}
}

func (s *said) hello(h hello) wired {
	h.Node = s.node
	text, err := json.Marshal(h)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.message(helloSubject, text)
}

// speaker is another node of the test's cluster.
func speaker(t *testing.T, name string) *said {
	t.Helper()
	s := &said{t: t, node: NewNode(name, "test")}
	self, _ := parseKey(s.node.ID)
	s.seal = newSeal(self, "test", "1", nil)
	return s
}

// pairOf is a bus that nothing connects, and another node, which it knows.
func pairOf(t *testing.T) (*NATS, *said) {
	t.Helper()
	b := New(Config{Self: NewNode("a", "test"), Name: "test", Logger: slog.New(slog.DiscardHandler)})
	b.seal = newSeal(b.members.self, "test", "1", nil)
	other := speaker(t, "b")
	b.arrived(b.inboxes[0], other.hello(hello{Hears: []string{b.config.Self.ID}}))
	synctest.Wait()
	if len(b.Nodes()) != 1 {
		t.Fatal("the other node is not known")
	}
	return b, other
}

// TestByeIsLast has what was published before a node leaves be sent before its bye.
func TestByeIsLast(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	for _, text := range []string{"1", "2", "3"} {
		if err := o.put("s", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	o.hello([]byte("hello"))
	o.close([]byte("bye"))
	o.close(nil)
	o.hello([]byte("late"))
	if err := o.put("s", nil); err != ErrAway {
		t.Errorf("after the end: %v", err)
	}
	last := uint64(0)
	for _, want := range []string{"hello", "1", "2", "3", "bye"} {
		m, ok := o.next()
		if !ok || string(m.data) != want {
			t.Fatalf("%q comes, not %q", m.data, want)
		}
		if want != "hello" && m.number <= last && want == "bye" {
			t.Errorf("the bye has number %d, after %d", m.number, last)
		}
		last = max(last, m.number)
	}
	if m, ok := o.next(); ok {
		t.Errorf("%q comes after the bye", m.data)
	}
}

// TestWhatWasSaidBeforeAByeCounts has a bye be heard before what its node published earlier,
// which waits for a handler: to a subject that has been heard, to one that has not, and
// repeated.
func TestWhatWasSaidBeforeAByeCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, other := pairOf(t)
		heard := map[string][]string{}
		listen := func(subject string) *inbox {
			if _, err := b.Subscribe(subject, func(m Message) { heard[subject] = append(heard[subject], string(m.Data)) }); err != nil {
				t.Fatal(err)
			}
			return b.inboxes[len(b.inboxes)-1]
		}
		old, fresh := listen("old"), listen("fresh")
		b.arrived(old, other.message("old", []byte("before")))
		repeated := other.message("old", []byte("last"))
		first := other.message("fresh", []byte("first"))
		bye := other.hello(hello{Bye: true})
		synctest.Wait()
		b.arrived(b.inboxes[0], bye)
		synctest.Wait()
		if len(b.Nodes()) != 0 {
			t.Error("who has said bye is still one of the nodes")
		}
		if _, err := b.Request(context.Background(), other.node.ID, "k", nil); err == nil {
			t.Error("who has said bye is asked")
		}
		for range 2 {
			b.arrived(old, repeated)
			b.arrived(fresh, first)
			synctest.Wait()
		}
		later := listen("later") // which nothing that was said before counts for
		b.arrived(later, first)
		synctest.Wait()
		if len(heard["old"]) != 2 || len(heard["fresh"]) != 1 || len(heard["later"]) != 0 {
			t.Errorf("heard: %v", heard)
		}
		time.Sleep(NodeTimeout) // of the test's own clock
		b.look()
		if len(b.members.leaving) != 0 || len(old.last) != 0 {
			t.Errorf("%d nodes leave for ever, %d are remembered", len(b.members.leaving), len(old.last))
		}
		b.arrived(old, repeated)
		b.arrived(fresh, other.message("fresh", []byte("too late")))
		synctest.Wait()
		if len(heard["old"]) != 2 || len(heard["fresh"]) != 1 {
			t.Errorf("heard of one who is gone: %v", heard)
		}
		b.end()
	})
}

// TestWhoComesAndGoesIsTold has two nodes come, one say bye and the other fall silent: the
// log names each, and each is counted once, for its reason.
func TestWhoComesAndGoesIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set, err := metrics.New(metrics.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		plain := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		b := New(Config{Self: NewNode("a", "test"), Name: "test", Metrics: set, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: plain}))})
		b.seal = newSeal(b.members.self, "test", "1", nil)
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { b.watch(ctx) })
		check := func(after, line string, stopped, silent int64) {
			t.Helper()
			synctest.Wait()
			if got, want := log.String(), "level=INFO msg=\"other nodes have come or gone\" "+line+"\n"; line == "" && got != "" || line != "" && got != want {
				t.Errorf("after %s the log has\n%swant\n%s", after, got, line)
			}
			log.Reset()
			for reason, want := range map[goneReason]int64{goneStopped: stopped, goneSilent: silent} {
				if got := set.Counter(metrics.ClusterGone, metrics.Reason(string(reason))).Value(); got != want {
					t.Errorf("after %s %d are gone because of %s, want %d", after, got, reason, want)
				}
			}
		}
		check("nothing", "", 0, 0)
		hears := hello{Hears: []string{b.config.Self.ID}}
		one, two := speaker(t, "b"), speaker(t, "c")
		b.arrived(b.inboxes[0], one.hello(hears))
		check("a hello", "came=[b] gone=[] nodes=2", 0, 0)
		b.arrived(b.inboxes[0], two.hello(hears))
		check("another", "came=[c] gone=[] nodes=3", 0, 0)
		b.arrived(b.inboxes[0], one.hello(hears))
		check("one of a node that is known", "", 0, 0)
		bye := hello{Bye: true}
		b.arrived(b.inboxes[0], one.hello(bye))
		check("a bye", "came=[] gone=[b] nodes=2", 1, 0)
		b.arrived(b.inboxes[0], one.hello(bye))
		check("a second bye", "", 1, 0)
		time.Sleep(NodeTimeout) // of the test's own clock
		b.look()
		check("a silence", "came=[] gone=[c] nodes=1", 1, 1)
		b.look()
		check("a longer silence", "", 1, 1)
		cancel()
		watching.Wait()
		b.end()
	})
}
