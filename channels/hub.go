package channels

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// Subscriber gets what goes to a topic. Deliver is called by whoever routes,
// one call at a time per segment but possibly concurrently for different ones.
// It must not block. now is when the segment was routed.
type Subscriber interface {
	Deliver(seg *outbound.Segment, now time.Time)
}

// hubShards spreads topics over locks, so that joins and routes of different
// topics rarely meet.
const hubShards = 64

// Hub knows who watches which topic on this node, and how far the node has read
// the log. All methods may be called concurrently.
type Hub struct {
	seed      maphash.Seed
	shards    [hubShards]shard
	head      atomic.Int64
	skipped   atomic.Int64 // see hub_missed.go
	epoch     atomic.Pointer[string]
	topics    atomic.Int64
	channels  atomic.Int64
	metrics   hubMetrics
	outbound  *outbound.Metrics
	interest  Interest // nil: nobody asks; written before use
	evictions evictionOrder
	replayer  atomic.Pointer[Replayer] // nil where nothing can be replayed
}

type shard struct {
	mu     sync.RWMutex
	topics map[string]*topic // guarded by mu, and so is all within
	erased map[string]int64  // see Hub.Forget; guarded by mu
}

// NewHub returns a hub with no subscribers and an empty log. It reports to set,
// which may be nil.
func NewHub(set *metrics.Set) *Hub {
	h := &Hub{seed: maphash.MakeSeed(), metrics: newHubMetrics(set), outbound: outbound.NewMetrics(set)}
	for i := range h.shards {
		h.shards[i].topics = make(map[string]*topic)
	}
	h.epoch.Store(new(string))
	set.GaugeFunc(metrics.Topics, h.Topics)
	set.GaugeFunc(metrics.Channels, h.Channels)
	set.GaugeFunc(metrics.MailboxDepth, h.Deepest)
	return h
}

// Advance tells the hub that this node has fetched the log up to offset. The
// producer calls it before the encoder asks for [Hub.Watched] of these events:
// then a format that a segment lacks belongs to subscribers whose join was
// answered with a head at or above the segment's offsets.
func (h *Hub) Advance(offset int64) { raise(&h.head, offset) }

// raise sets a number to a higher one.
func raise(n *atomic.Int64, to int64) {
	for {
		now := n.Load()
		if to <= now || n.CompareAndSwap(now, to) {
			return
		}
	}
}

// Head is the highest offset that this node has fetched from the log.
func (h *Hub) Head() int64 { return h.head.Load() }

// SetEpoch names the log that offsets refer to. The front door calls it when it
// has opened the log, before the first join.
func (h *Hub) SetEpoch(epoch string) { h.epoch.Store(&epoch) }

// Epoch is the name of the log that offsets refer to.
func (h *Hub) Epoch() string { return *h.epoch.Load() }

// Metrics counts what becomes of messages on their way out.
func (h *Hub) Metrics() *outbound.Metrics { return h.outbound }

// Replays bounds what replays hold. It is nil where what a channel misses cannot be
// replayed.
func (h *Hub) Replays() *outbound.ReplayBudget {
	if r := h.replayer.Load(); r != nil {
		return r.budget.replays
	}
	return nil
}

// Topics is the number of topics that somebody watches.
func (h *Hub) Topics() int64 { return h.topics.Load() }

// Channels is the number of subscriptions over all topics.
func (h *Hub) Channels() int64 { return h.channels.Load() }

// Pushed is how many messages have been written to sockets, whatever their tags.
func (h *Hub) Pushed() int64 { return h.outbound.Pushed() }

// Deepest is how many messages the fullest mailbox has held lately.
func (h *Hub) Deepest() int64 { return h.outbound.Deepest() }

// Watched tells who watches a topic. A segment that is made for an audience is
// routed without looking for its topic again, which costs more than all the rest
// once there are too many topics for the processor's caches.
func (h *Hub) Watched(topic string) outbound.Audience {
	s := h.shard(topic)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if t := s.topics[topic]; t != nil {
		return outbound.Audience{Topic: t.name, Formats: t.formats, Handle: t, Shared: &t.sent}
	}
	return outbound.Audience{}
}

// Route hands a segment to all subscribers of its topic and returns how many
// these are. Segments of the log must be routed in order within a topic.
func (h *Hub) Route(seg *outbound.Segment) int { return h.route(seg, nil) }

// route is Route, passing over one subscriber.
func (h *Hub) route(seg *outbound.Segment, except Subscriber) int {
	t, subs := h.passing(seg)
	if len(subs) == 0 {
		return 0
	}
	now, n := time.Now(), 0
	t.rate.add(seg.Len(), now)
	var ahead [routedAhead]*Subscription
	for len(subs) > 0 {
		some := min(len(subs), len(ahead))
		for i := range some {
			ahead[i] = subs[i].taken()
		}
		for _, sub := range ahead[:some] {
			if sub == nil || (except != nil && sub.subscriber == except) {
				continue
			}
			sub.subscriber.Deliver(seg, now)
			n++
		}
		subs = subs[some:]
	}
	h.metrics.fanOut.Observe(time.Since(now))
	return n
}

// routedAhead is how many subscriptions are looked at before the first of them is given
// anything: where they are in no cache any more, the processor waits for several at a time.
const routedAhead = 8

// passing remembers a segment of the log and returns its topic, if somebody watches it,
// with a snapshot of the topic's list, with its empty places. Both in one step: who subscribes, or
// catches up, has either the segment among what is remembered or is on the
// list.
func (h *Hub) passing(seg *outbound.Segment) (*topic, []place) {
	s := h.shardOf(seg)
	if !seg.Logged() || h.replayer.Load() == nil {
		s.mu.RLock()
		defer s.mu.RUnlock()
		if t := s.topicOf(seg); t != nil {
			return t, t.subs
		}
		return nil, nil
	}
	defer h.evictions.forget() // with the shard's lock released
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topicOf(seg)
	if t == nil {
		return nil, nil
	}
	if t.history.add(seg) {
		h.evictions.add(t, seg.Size())
	}
	return t, t.subs
}

// shardOf is the shard that a segment's topic belongs to.
func (h *Hub) shardOf(seg *outbound.Segment) *shard {
	if t, _ := seg.Handle().(*topic); t != nil {
		return t.shard
	}
	return h.shard(seg.Topic())
}

// topicOf is a segment's topic, nil if nobody watches it. Somebody may do so
// again since it was asked for: under the same name, but anew. Called with mu
// held.
func (s *shard) topicOf(seg *outbound.Segment) *topic {
	if t, _ := seg.Handle().(*topic); t != nil && t.live > 0 {
		return t
	}
	return s.topics[seg.Topic()]
}

// recentAfter returns remembered segments of a topic: see [topicHistory.after].
func (h *Hub) recentAfter(topic string, offset int64, formats outbound.FormatSet) (segments []*outbound.Segment, whole bool) {
	s := h.shard(topic)
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.topics[topic]
	if t == nil {
		return nil, false
	}
	return t.history.after(offset, formats, replayStep)
}

// recentTail is the offset before the last count of a topic's events that are remembered:
// see [topicHistory.tail].
func (h *Hub) recentTail(topic string, count int) (before int64, whole bool) {
	s := h.shard(topic)
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.topics[topic]
	if t == nil {
		return 0, false
	}
	return t.history.tail(count)
}

// goLive turns a mailbox live that has got to an offset, unless more has been
// routed meanwhile. Nothing can be while the lock is held: what comes next
// finds the mailbox live.
func (h *Hub) goLive(topic string, offset int64, m *outbound.Mailbox) bool {
	s := h.shard(topic)
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := s.topics[topic]
	return t != nil && t.history.last <= offset && m.GoLive(offset)
}

// name is a topic's name, in the copy that all who watch it share.
func (h *Hub) name(topic string) string {
	if to := h.Watched(topic); to.Formats != 0 {
		return to.Topic
	}
	return strings.Clone(topic) // without the message that it came with
}

// Init prepares a subscription of a topic. Nothing comes of it before Enter.
func (sub *Subscription) Init(h *Hub, topic string, to Subscriber) {
	sub.hub, sub.topic, sub.subscriber = h, h.name(topic), to
}

// Enter has the subscriber get what goes to the topic from now on, until Cancel.
// Segments are then encoded in the given formats too.
func (sub *Subscription) Enter(formats outbound.FormatSet) {
	sub.formats = formats
	if first := sub.enter(); first && sub.hub.interest != nil {
		sub.hub.interest.Enter(sub.topic)
	}
}

// enter is Enter, and tells whether this is the topic's first subscriber.
func (sub *Subscription) enter() (first bool) {
	h := sub.hub
	s := h.shard(sub.topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[sub.topic]
	if first = t == nil; first {
		head := h.Head() // what was fetched before now may pass without being remembered
		t = &topic{shard: s, name: sub.topic, history: topicHistory{since: head, last: head, erased: s.erased[sub.topic]}}
		s.topics[t.name] = t
		h.topics.Add(1)
	}
	t.add(sub)
	t.count(sub.formats, 1)
	h.channels.Add(1)
	return first
}

// Cancel removes the subscription. A segment that is being routed meanwhile may
// still be delivered. Cancelling again does nothing.
func (sub *Subscription) Cancel() {
	if last := sub.cancel(); last && sub.hub.interest != nil {
		sub.hub.interest.Leave(sub.topic)
	}
}

// cancel is Cancel, and tells whether this was the topic's last subscriber.
func (sub *Subscription) cancel() (last bool) {
	h := sub.hub
	s := h.shard(sub.topic)
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub.cancelled.Swap(true) {
		return false
	}
	h.channels.Add(-1)
	t := s.topics[sub.topic]
	t.subs[sub.index].by.Store(nil)
	t.count(sub.formats, -1)
	switch {
	case t.live == 0:
		delete(s.topics, t.name)
		t.subs = nil // segments that are still under way hold on to the topic
		h.topics.Add(-1)
		return true
	case len(t.subs) > 2*t.live+sweepSlack:
		t.sweep()
	}
	return false
}

func (h *Hub) shard(topic string) *shard {
	return &h.shards[maphash.String(h.seed, topic)%hubShards]
}
