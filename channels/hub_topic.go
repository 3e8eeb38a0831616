package channels

import (
	"sync/atomic"

	"github.com/sluicehq/sluice/channels/outbound"
)

// topic lists the subscribers of one topic. The list only grows at its end, so
// a copy of the slice taken under the lock can be walked without it: N joins
// cost O(N), not a copy of the list each. Who leaves is taken out of its place at
// once, so that nothing keeps it in memory, and the places that are empty are swept
// away, into a new list, once more than half are.
type topic struct {
	shard   *shard
	name    string
	subs    []place
	history topicHistory
	sent    outbound.SharedWindows // what those who dedupe tell repeats by; guarded by itself
	formats outbound.FormatSet
	live    int
	rate    meter                      // of messages; guarded by itself
	uses    [outbound.MaxFormats]int32 // live subscriptions by format
}

// place is where a subscription stands in a topic's list, until it leaves. It is
// written with the shard's lock held, and read by whoever walks the list.
type place struct{ by atomic.Pointer[Subscription] }

// taken is the subscription, nil if it has left.
func (p *place) taken() *Subscription {
	if sub := p.by.Load(); sub != nil && !sub.cancelled.Load() {
		return sub
	}
	return nil
}

// Subscription is a subscriber's entry in the hub. It is a value of the subscriber's,
// and used once.
type Subscription struct {
	hub        *Hub
	topic      string
	subscriber Subscriber
	formats    outbound.FormatSet
	cancelled  atomic.Bool // for those who walk a list that has been replaced since
	index      int32       // of its place; guarded by the shard's mu
}

// sweepSlack keeps small topics from being swept at every leave.
const sweepSlack = 16

// add gives a subscription a place at the end of the list.
func (t *topic) add(sub *Subscription) {
	if len(t.subs) == cap(t.subs) {
		t.move(t.live + t.live/2 + 1)
	}
	sub.index = int32(len(t.subs))
	t.subs = t.subs[:len(t.subs)+1]
	t.subs[sub.index].by.Store(sub)
}

// sweep replaces the list by one without the empty places.
func (t *topic) sweep() { t.move(t.live) }

// move replaces the list by one of a given capacity, without the empty places.
// Snapshots of the old one stay as they are.
func (t *topic) move(capacity int) {
	old := t.subs
	t.subs = make([]place, 0, capacity)
	for i := range old {
		if sub := old[i].taken(); sub != nil {
			t.add(sub)
		}
	}
}

// count notes that a subscription with these formats came (1) or went (-1).
func (t *topic) count(formats outbound.FormatSet, by int) {
	t.live += by
	for f := range formats.All() {
		t.uses[f] += int32(by)
		if t.uses[f] > 0 {
			t.formats |= 1 << f
		} else {
			t.formats &^= 1 << f
		}
	}
}
