package socket

import (
	"maps"
	"slices"

	"github.com/sluicehq/sluice/channels"
)

// roster is the channels of a session, by topic. Most sessions have one: it needs
// no map.
type roster struct {
	topic string          // of one
	one   *channels.Actor // nil if there is none, though there may be more
	more  map[string]*channels.Actor
}

func (r *roster) len() int {
	if r.one == nil {
		return len(r.more)
	}
	return 1 + len(r.more)
}

// find returns the actor of a topic, or nil.
func (r *roster) find(topic string) *channels.Actor {
	if r.one != nil && r.topic == topic {
		return r.one
	}
	return r.more[topic]
}

// add adds the actor of a topic that has none.
func (r *roster) add(topic string, a *channels.Actor) {
	switch {
	case r.one == nil:
		r.topic, r.one = topic, a
	case r.more == nil:
		r.more = map[string]*channels.Actor{topic: a}
	default:
		r.more[topic] = a
	}
}

func (r *roster) remove(topic string) {
	if r.one != nil && r.topic == topic {
		r.topic, r.one = "", nil
		return
	}
	if delete(r.more, topic); len(r.more) == 0 {
		r.more = nil
	}
}

func (r *roster) all() []*channels.Actor {
	list := slices.Collect(maps.Values(r.more))
	if r.one != nil {
		list = append(list, r.one)
	}
	return list
}
