package presence

import (
	"cmp"
	"slices"
)

// topic is who is on a topic. The tracker's mu guards it.
type topic struct {
	name    string
	members []*member // in no order: who is there, or clients have been told of
	present int       // of these, who is there
	shown   int       // of these, whom clients have been told of
	dirty   []*member // those that have changed since clients were told
	queued  bool      // it is in tracker.dirty
	state   []byte    // the list as clients have been told it; nil until it is asked for

	// leaving are, by key, members of nodes that are shutting down: whoever joins with the
	// same key takes the place of one. Nil until there are any.
	leaving map[string][]*member
}

// topicNamed is a topic that somebody is going to be on.
func (t *Tracker) topicNamed(name string) *topic {
	tp := t.topics[name]
	if tp == nil {
		tp = &topic{name: name}
		t.topics[name] = tp
	}
	return tp
}

// show changes what is to be seen of a member: nil for nothing. Called with mu held.
func (t *Tracker) show(m *member, now *view) {
	if m.now == now {
		return
	}
	if m.now == nil && m.at < 0 { // its topic may have been forgotten since it was there
		m.topic = t.topicNamed(m.topic.name)
		m.at = len(m.topic.members)
		m.topic.members = append(m.topic.members, m)
	}
	tp := m.topic
	switch {
	case m.now == nil:
		tp.present++
		t.replace(m, now)
	case now == nil:
		tp.present--
	}
	m.now = now
	if !m.dirty {
		m.dirty = true
		tp.dirty = append(tp.dirty, m)
	}
	if !tp.queued {
		tp.queued = true
		t.dirty = append(t.dirty, tp)
	}
	t.Wake()
}

// replace has a member that comes take the place of one with the same key that is going
// to leave with its node. Called with mu held.
func (t *Tracker) replace(m *member, now *view) {
	tp := m.topic
	for len(tp.leaving[now.key]) > 0 {
		list := tp.leaving[now.key]
		old := list[0]
		if tp.leaving[now.key] = list[1:]; len(list) == 1 {
			delete(tp.leaving, now.key)
		}
		if old.now == nil || old == m {
			continue
		}
		if m.replaces = (ref{}); old.told != nil {
			m.replaces = old.told.ref
		}
		t.show(old, nil)
		return
	}
}

// Change is what has changed on a topic: what clients are told.
type Change struct {
	Topic string
	joins []joined
	left  []*view
}

// joined is a presence that has come, or has been updated.
type joined struct {
	*view
	prev ref // what it was before; zero: nothing
}

// gather returns what has changed since it was called last. Called with mu held.
func (t *Tracker) gather() []Change {
	changes := make([]Change, 0, len(t.dirty))
	for _, tp := range t.dirty {
		c := Change{Topic: tp.name}
		most := t.listed(tp.name)
		switch {
		case tp.present <= most && tp.shown <= most:
			for _, m := range tp.dirty {
				tp.tell(m, m.now, &c)
			}
			// Whoever was there before and did not fit does now.
			if tp.shown < tp.present {
				for _, m := range tp.members {
					tp.tell(m, m.now, &c)
				}
			}
		default:
			listed := tp.lowest(most)
			for _, m := range tp.members {
				seen := m.now
				if seen != nil && seen.id.compare(listed) > 0 {
					seen = nil
				}
				tp.tell(m, seen, &c)
			}
		}
		for _, m := range tp.dirty {
			m.dirty = false
			tp.forget(m)
		}
		clear(tp.dirty)
		tp.dirty, tp.queued = tp.dirty[:0], false
		if c.cancel(); len(c.joins)+len(c.left) > 0 {
			tp.state = nil
			changes = append(changes, c)
		}
		if len(tp.members) == 0 {
			delete(t.topics, tp.name)
		}
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	return changes
}

// tell notes what clients are told of a member.
func (tp *topic) tell(m *member, now *view, c *Change) {
	before := m.told
	if before == now {
		return
	}
	if before != nil {
		c.left = append(c.left, before)
		tp.shown--
	}
	if now != nil {
		j := joined{view: now, prev: m.replaces}
		if before != nil {
			j.prev = before.ref
		}
		c.joins = append(c.joins, j)
		tp.shown++
		m.replaces = ref{}
	}
	m.told = now
}

// cancel leaves out what has left and come again as the same: a node's presences that
// were forgotten, and fetched once more. Clients would take it for gone.
func (c *Change) cancel() {
	if len(c.joins) == 0 || len(c.left) == 0 {
		return
	}
	back := make(map[ref]bool, len(c.left))
	for _, v := range c.left {
		back[v.ref] = false
	}
	c.joins = slices.DeleteFunc(c.joins, func(j joined) bool {
		_, same := back[j.ref]
		if same {
			back[j.ref] = true
		}
		return same
	})
	c.left = slices.DeleteFunc(c.left, func(v *view) bool { return back[v.ref] })
}

// forget drops a member from the topic that is not there and that nobody has been told of.
func (tp *topic) forget(m *member) {
	if m.now != nil || m.told != nil || m.at < 0 {
		return
	}
	last := len(tp.members) - 1
	moved := tp.members[last]
	tp.members[m.at], moved.at = moved, m.at
	tp.members[last] = nil
	tp.members, m.at = tp.members[:last], -1
	if cap(tp.members) > 64 && len(tp.members) < cap(tp.members)/4 {
		tp.members = slices.Clone(tp.members)
	}
}

// lowest is the ref of the last of those that are listed: of the most members that are
// there with the lowest refs.
func (tp *topic) lowest(most int) ref {
	lowest := make([]ref, 0, 2*most)
	for _, m := range tp.members {
		if m.now == nil || len(lowest) >= most && m.now.id.compare(lowest[most-1]) > 0 {
			continue
		}
		if lowest = append(lowest, m.now.id); len(lowest) == most || len(lowest) == cap(lowest) {
			slices.SortFunc(lowest, ref.compare)
			lowest = lowest[:most]
		}
	}
	if len(lowest) == 0 {
		return ref{}
	}
	slices.SortFunc(lowest, ref.compare)
	return lowest[min(most, len(lowest))-1]
}

// views are the members as they are now, or as clients have been told, in order.
func (tp *topic) views(of func(*member) *view) []*view {
	list := make([]*view, 0, len(tp.members))
	for _, m := range tp.members {
		if v := of(m); v != nil {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b *view) int { return a.id.compare(b.id) })
	return list
}

func now(m *member) *view  { return m.now }
func told(m *member) *view { return m.told }

// compareJoined orders what has come.
func compareJoined(a, b joined) int { return cmp.Or(a.id.compare(b.id), a.ref.compare(b.ref)) }
