package channels

import (
	"context"
	"fmt"
	"testing"

	"github.com/sluicehq/sluice/channels/outbound"
)

// BenchmarkChannels is BenchmarkFanOut with connections that have joined many topics, each
// of which is said something in turn.
func BenchmarkChannels(b *testing.B) {
	const connections = 100
	for _, topics := range []int{1, 100} {
		b.Run(fmt.Sprintf("channels=%d", topics), func(b *testing.B) {
			a := newAudience(b, topics, 0, 2, Options{})
			var all []*watcher
			for range connections {
				all = append(all, a.joinAll(topics))
				a.group.Wait()
			}
			c := &crowd{watchers: all}
			a.take(c)
			perDelivery(b, connections*topics*2, func(int) {
				for _, t := range a.topics {
					a.say(t)
				}
				a.take(c)
			})
		})
	}
}

// joinAll has one connection join all topics.
func (a *audience) joinAll(topics int) *watcher {
	w := new(watcher)
	w.conn = outbound.NewConnection(a.hub, outbound.ConnectionConfig{
		Replies: 1000, Bytes: 1 << 20, Wake: func() { w.woken = true }, Overflow: func() {}})
	for i := range topics {
		w.actor = a.host.Join(JoinRequest{
			To:         outbound.Address{Topic: a.topics[i].segment.Topic(), JoinRef: "1", Ref: "1"},
			Params:     emptyObject,
			Factory:    func() Channel { return listener{} },
			Socket:     func() *Socket { return nil },
			Connection: w.conn,
			Context:    context.Background(),
			Group:      &a.group,
			Ended:      func(*Actor) {},
		})
	}
	return w
}
