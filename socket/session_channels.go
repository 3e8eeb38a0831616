package socket

import (
	"iter"
	"maps"
	"slices"

	"github.com/sluicehq/sluice/channels"
)

// joinedChannels are those of a session, by topic. Most sessions have one: it needs
// no map.
type joinedChannels struct {
	topic string          // of one
	one   *channels.Actor // nil if there is none, though there may be more
	more  map[string]*channels.Actor
}

func (j *joinedChannels) len() int {
	if j.one == nil {
		return len(j.more)
	}
	return 1 + len(j.more)
}

// find returns the actor of a topic, or nil.
func (j *joinedChannels) find(topic string) *channels.Actor {
	if j.one != nil && j.topic == topic {
		return j.one
	}
	return j.more[topic]
}

// add adds the actor of a topic that has none.
func (j *joinedChannels) add(topic string, a *channels.Actor) {
	switch {
	case j.one == nil:
		j.topic, j.one = topic, a
	case j.more == nil:
		j.more = map[string]*channels.Actor{topic: a}
	default:
		j.more[topic] = a
	}
}

func (j *joinedChannels) remove(topic string) {
	if j.one != nil && j.topic == topic {
		j.topic, j.one = "", nil
		return
	}
	if delete(j.more, topic); len(j.more) == 0 {
		j.more = nil
	}
}

// each yields all actors.
func (j *joinedChannels) each() iter.Seq[*channels.Actor] {
	return func(yield func(*channels.Actor) bool) {
		if j.one != nil && !yield(j.one) {
			return
		}
		for _, actor := range j.more {
			if !yield(actor) {
				return
			}
		}
	}
}

func (j *joinedChannels) all() []*channels.Actor {
	list := slices.Collect(maps.Values(j.more))
	if j.one != nil {
		list = append(list, j.one)
	}
	return list
}
