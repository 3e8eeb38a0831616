package clustertest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// running runs a bus until the test ends, or stop.
func running(t *testing.T, bus cluster.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	runs := make(chan struct{}) // closed by Run's first call of the watcher
	bus.Watch(func([]cluster.Node) {
		select {
		case <-runs:
		default:
			close(runs)
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- bus.Run(ctx) }()
	<-runs
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// heard is what a bus hears of a subject.
type heard struct {
	mu       sync.Mutex
	messages []string
}

func (h *heard) take(m cluster.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages = append(h.messages, string(m.Data))
}

func (h *heard) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

func subscribed(t *testing.T, bus cluster.Bus, subject string) *heard {
	t.Helper()
	h := &heard{}
	if _, err := bus.Subscribe(subject, h.take); err != nil {
		t.Fatal(err)
	}
	return h
}

func publish(t *testing.T, bus cluster.Bus, first, count int) {
	t.Helper()
	for i := range count {
		if err := bus.Publish("s", fmt.Appendf(nil, "%05d", first+i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFaultsStrike(t *testing.T) {
	t.Parallel()
	const messages = 1000
	for _, test := range []struct {
		name                     string
		faults                   clustertest.Faults
		lost, repeated, disorder bool
	}{
		{"none", clustertest.Faults{}, false, false, false},
		{"drop", clustertest.Faults{Drop: 0.2}, true, false, false},
		{"repeat", clustertest.Faults{Repeat: 0.2}, false, true, false},
		{"reorder", clustertest.Faults{Reorder: 0.2}, false, false, true},
		{"delay", clustertest.Faults{Delay: 5}, false, false, false},
		{"all", clustertest.Faults{Drop: 0.2, Repeat: 0.2, Reorder: 0.2, Delay: 5}, true, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			runs := [2][]string{}
			for i := range runs {
				net := clustertest.NewNet(t, 7)
				a, b := net.Join("a"), net.Join("b")
				defer running(t, a)()
				defer running(t, b)()
				h := subscribed(t, b, "s")
				net.SetFaults(test.faults)
				publish(t, a, 0, messages)
				net.Settle()
				if early := len(h.all()); test.faults.Delay > 0 && early > messages/2 {
					t.Errorf("%d messages came though nothing let time pass", early)
				}
				net.Advance(10)
				net.Settle()
				runs[i] = h.all()
			}
			got := runs[0]
			if !slices.Equal(got, runs[1]) {
				t.Error("one seed has given two outcomes")
			}
			distinct := slices.Compact(slices.Sorted(slices.Values(got)))
			if lost := len(distinct) < messages; lost != test.lost {
				t.Errorf("%d messages of %d came", len(distinct), messages)
			}
			if repeated := len(distinct) < len(got); repeated != test.repeated {
				t.Errorf("%d messages came, %d of them distinct", len(got), len(distinct))
			}
			if disorder := !slices.IsSorted(got); disorder != test.disorder {
				t.Errorf("out of order: %v", disorder)
			}
		})
	}
}

func TestCutsHeal(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	a, b, c := net.Join("a"), net.Join("b"), net.Join("c")
	for _, bus := range []cluster.Bus{a, b, c} {
		running(t, bus)
	}
	atB, atC := subscribed(t, b, "s"), subscribed(t, c, "s")
	know := func(bus cluster.Bus, want ...string) {
		t.Helper()
		var names []string
		for _, node := range bus.Nodes() {
			names = append(names, node.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s knows %v, want %v", bus.Self().Name, names, want)
		}
	}
	net.Cut("b", "a")
	publish(t, a, 0, 1)
	know(a, "b", "c")
	net.Advance(cluster.NodeTimeout)
	know(a, "c")
	know(b, "c")
	know(c, "a", "b")
	net.Heal()
	know(a, "b", "c")
	publish(t, a, 1, 1)
	net.Away("c")
	if a.Connected() != nil || c.Connected() != cluster.ErrAway || c.Publish("s", nil) != cluster.ErrAway {
		t.Error("who has no bus does not know")
	}
	publish(t, a, 2, 1)
	net.Heal()
	net.Kill("a")
	if err := a.Publish("s", nil); err != cluster.ErrAway {
		t.Errorf("the dead publish: %v", err)
	}
	know(b, "a", "c")
	net.Advance(cluster.NodeTimeout)
	know(b, "c")
	net.Settle()
	if got, want := atB.all(), []string{"00001", "00002"}; !slices.Equal(got, want) {
		t.Errorf("b has heard %v, want %v", got, want)
	}
	if got, want := atC.all(), []string{"00000", "00001"}; !slices.Equal(got, want) {
		t.Errorf("c has heard %v, want %v", got, want)
	}
}

func TestStopLeavesAtOnce(t *testing.T) {
	t.Parallel()
	net := clustertest.NewNet(t, 1)
	a, b := net.Join("a"), net.Join("b")
	stop := running(t, a)
	running(t, b)
	if len(b.Nodes()) != 1 {
		t.Fatal("b does not know a")
	}
	stop()
	if len(b.Nodes()) != 0 || a.Connected() == nil {
		t.Error("a has not left")
	}
}
