package channels

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/sluicehq/sluice/channels/outbound"
)

// BenchmarkFanOut is the way of a segment from the hub into the mailboxes of
// all who watch its topic, and out of them: what a delivery costs beside its
// encoding and its system call.
func BenchmarkFanOut(b *testing.B) {
	for _, messages := range []int{1, 500} {
		for _, watchers := range []int{1, 1000, 18000} {
			b.Run(fmt.Sprintf("messages=%d/watchers=%d", messages, watchers), func(b *testing.B) {
				a := newAudience(b, 1, watchers, messages, Options{})
				perDelivery(b, watchers, func(int) {
					a.say(a.topics[0])
					a.take(a.topics[0])
				})
			})
		}
	}
}

// BenchmarkTopics is the same with one watcher for each of many topics, each
// said something in turn: the cost of a topic, with few or many of them around.
func BenchmarkTopics(b *testing.B) {
	for _, topics := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			a := newAudience(b, topics, 1, 1, Options{})
			perDelivery(b, 1, func(i int) {
				c := a.topics[i%topics]
				a.say(c)
				a.take(c)
			})
		})
	}
}

// BenchmarkBroadcast is a broadcast on a node that is alone: to nobody, and to some.
func BenchmarkBroadcast(b *testing.B) {
	for _, watchers := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			hub := NewHub(nil)
			p := NewPubSub(hub, terse{})
			for range watchers {
				subscribe(hub, "t", outbound.Formats(0), &ear{})
			}
			m := &Message{Topic: "t", Event: "e", Payload: []byte(`{"text":"hello, all of you"}`)}
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Broadcast(m, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBurst is what it costs to queue many segments before a writer gets
// to take them.
func BenchmarkBurst(b *testing.B) {
	const watchers = 100
	for _, segments := range []int{4, 16, 64, 512} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			a := newAudience(b, 1, watchers, 1, Options{})
			perDelivery(b, watchers*segments, func(int) {
				for range segments {
					a.say(a.topics[0])
				}
				a.take(a.topics[0])
			})
		})
	}
}

// BenchmarkSlow is what it costs to route to a mailbox that is full and stays
// so, by what happens then: of each segment all is shed, or as much of what has
// waited longer, or nothing is queued at all.
func BenchmarkSlow(b *testing.B) {
	const watchers, messages = 100, 500
	for _, rule := range []Overflow{CatchUp, DropOldest, DropNewest, Latest} {
		b.Run(rule.String(), func(b *testing.B) {
			a := newAudience(b, 1, watchers, messages, Options{Overflow: rule})
			for range 3 {
				a.say(a.topics[0])
			}
			perDelivery(b, watchers, func(int) { a.say(a.topics[0]) })
		})
	}
}

// BenchmarkDedupe is BenchmarkFanOut with channels that remember what they have
// sent.
func BenchmarkDedupe(b *testing.B) {
	const watchers, messages = 100, 500
	for _, rule := range []Dedupe{DedupeKey, DedupePayload} {
		b.Run(rule.String(), func(b *testing.B) {
			a := newAudience(b, 1, watchers, messages, Options{Dedupe: rule, DedupeWindow: 1})
			perDelivery(b, watchers*messages, func(int) {
				a.say(a.topics[0])
				a.take(a.topics[0])
			})
		})
	}
}

// BenchmarkLanes has as many topics routed and taken at a time as there are
// processors, as lanes do: compare -cpu 1,2,4.
func BenchmarkLanes(b *testing.B) {
	const topics = 16
	a := newAudience(b, topics, 100, 1, Options{})
	var lane atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for c := a.topics[lane.Add(1)%topics]; pb.Next(); {
			a.say(c)
			a.take(c)
		}
	})
}

// BenchmarkIdle is the memory of a joined channel with nothing to do, and of
// its connection: many on one topic, and each on its own.
func BenchmarkIdle(b *testing.B) {
	const channels = 18000
	for _, topics := range []int{1, channels} {
		b.Run(fmt.Sprintf("topics=%d", topics), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				a := newAudience(b, topics, channels/topics, 1, Options{})
				for _, c := range a.topics {
					c.segment = nil
				}
				b.ReportMetric(float64(heap()-before)/channels, "B/channel")
				runtime.KeepAlive(a)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkJoin is a join and a leave.
func BenchmarkJoin(b *testing.B) {
	a := newAudience(b, 1, 1, 1, Options{})
	var batch outbound.WriteBatch
	b.ReportAllocs()
	for b.Loop() {
		w := a.join("topic:0", Options{})
		a.group.Wait()
		for w.conn.Take(&batch, 256<<10, 64) {
		}
		w.actor.End(ErrDisconnected)
		a.group.Wait()
	}
}

// perDelivery does a step again and again, which makes so many deliveries.
func perDelivery(b *testing.B, deliveries int, step func(i int)) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		step(i)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*deliveries), "ns/delivery")
}
