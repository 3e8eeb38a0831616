package cluster_test

import (
	"testing"

	"github.com/sluicehq/sluice/internal/cluster"
)

// pairFor are two nodes that know each other by servers of their own, for a benchmark.
func pairFor(b *testing.B) (one, other *node) {
	b.Helper()
	join := func(name string, routes ...string) *node {
		c := quiet(name)
		c.Listen, c.Routes = "127.0.0.1:0", routes
		return run(b, c)
	}
	one = join("one")
	eventually(b, "listening", func() bool { return addrOf(one.NATS) != "" })
	other = join("other", addrOf(one.NATS))
	knows(b, one, "other")
	knows(b, other, "one")
	return one, other
}

// BenchmarkRequest is there and back: twice across a connection, signed both ways.
func BenchmarkRequest(b *testing.B) {
	one, other := pairFor(b)
	for b.Loop() {
		if _, err := one.Request(b.Context(), other.Self().ID, "nothing", make([]byte, 300)); err == nil {
			b.Fatal("answered")
		}
	}
}

// BenchmarkPublish has pages of 64 KiB go to another node, as fast as it takes them.
func BenchmarkPublish(b *testing.B) {
	one, other := pairFor(b)
	came := make(chan struct{}, 1024) // sent to by the handler; the benchmark has fewer under way
	if _, err := other.Subscribe("s", func(cluster.Message) { came <- struct{}{} }); err != nil {
		b.Fatal(err)
	}
	page := make([]byte, 64<<10)
	eventually(b, "heard", func() bool {
		_ = one.Publish("s", nil)
		select {
		case <-came:
			return true
		default:
			return false
		}
	})
	b.SetBytes(int64(len(page)))
	under := 0
	for b.Loop() {
		if err := one.Publish("s", page); err != nil {
			b.Fatal(err)
		}
		if under++; under > 64 {
			<-came
			under--
		}
	}
}
