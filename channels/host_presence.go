package channels

import (
	"sync"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/channels/presence"
)

// awaiting are channels that are to be given the list of who is on their topic, each
// once; bounded by the number of channels.
type awaiting struct {
	tracker *presence.Tracker // nil where there is none

	mu    sync.Mutex
	queue []*Actor // guarded by mu
}

// add has a channel given the list. It may be called with the connection's lock held.
func (w *awaiting) add(actors ...*Actor) {
	w.mu.Lock()
	w.queue = append(w.queue, actors...)
	w.mu.Unlock()
	w.tracker.Wake()
}

// take returns those that are to be given it now.
func (w *awaiting) take() []*Actor {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue
}

// TellPresence implements [presence.Audience]: changes go to those who have the list, and
// then those who wait get it. Lists and changes are sent by this one goroutine, so that
// none of them overtakes another; who began to wait before the changes were gathered has
// itself in its list.
func (h *Host) TellPresence(changed func() []presence.Change) (waiting bool) {
	waiters := h.awaiting.take()
	for _, c := range changed() {
		h.pubsub.tellPresence(c)
	}
	left := waiters[:0]
	for _, a := range waiters {
		switch awaits, room := a.mailbox.AwaitsPresence(); {
		case !awaits:
		case !room || !a.givePresence():
			left = append(left, a)
		}
	}
	if len(left) > 0 {
		h.awaiting.add(left...)
	}
	return len(left) > 0
}

// givePresence gives a channel the list of who is on its topic. It returns false if there
// is no room for it.
func (a *Actor) givePresence() bool {
	frame := a.presencePush(a.host.presences.State(a.Topic()))
	return frame == nil || a.mailbox.PushPresence(frame)
}

// tellPresence sends a change to all who have been given the list of who is on its topic.
func (p *PubSub) tellPresence(c presence.Change) {
	to := p.hub.Watched(c.Topic)
	if to.Formats == 0 {
		return
	}
	b := p.builders.Get().(*outbound.Builder)
	b.Start(to)
	err := b.Add(&Message{Topic: c.Topic, Event: "presence_diff", Payload: c.Payload(), Presence: true})
	segment := b.Segment()
	p.builders.Put(b) // not deferred: after a panic nobody uses it again
	if err == nil {   // keys and metas are checked: nothing of them cannot be encoded
		p.hub.route(segment, nil)
	}
}
