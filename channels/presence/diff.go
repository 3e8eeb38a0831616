package presence

import (
	"encoding/json"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Payload is the change as a presence_diff has it.
func (c Change) Payload() []byte {
	slices.SortFunc(c.joins, compareJoined)
	slices.SortFunc(c.left, func(a, b *view) int { return a.ref.compare(b.ref) })
	left := make([]joined, len(c.left))
	for i, v := range c.left {
		left[i].view = v
	}
	out := appendMembers([]byte(`{"joins":`), c.joins)
	return append(appendMembers(append(out, `,"leaves":`...), left), '}')
}

// appendList appends what a presence_state has.
func appendList(dst []byte, views []*view) []byte {
	list := make([]joined, len(views))
	for i, v := range views {
		list[i].view = v
	}
	return appendMembers(dst, list)
}

// appendMembers appends presences by key: {"7":{"metas":[{"phx_ref":"…", …}]}}.
func appendMembers(dst []byte, list []joined) []byte {
	type group struct{ first, last int }
	groups := make(map[string]group, len(list))
	following := make([]int, len(list)) // the next with the same key, -1 for none
	keys := make([]string, 0, len(list))
	for i, j := range list {
		following[i] = -1
		g, ok := groups[j.key]
		if ok {
			following[g.last] = i
			g.last = i
		} else {
			keys = append(keys, j.key)
			g = group{i, i}
		}
		groups[j.key] = g
	}
	dst = append(dst, '{')
	for n, key := range keys {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst, _ = jsontext.AppendQuote(dst, key) // CheckKey has seen that it is UTF-8
		dst = append(dst, `:{"metas":[`...)
		for i := groups[key].first; i >= 0; i = following[i] {
			if i != groups[key].first {
				dst = append(dst, ',')
			}
			dst = appendMeta(dst, list[i])
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, '}')
}

// appendMeta appends a meta with its refs.
func appendMeta(dst []byte, j joined) []byte {
	dst = append(append(append(dst, `{"phx_ref":"`...), j.ref.String()...), '"')
	if j.prev != (ref{}) {
		dst = append(append(append(dst, `,"phx_ref_prev":"`...), j.prev.String()...), '"')
	}
	if j.meta != "{}" {
		dst = append(dst, ',')
	}
	return append(dst, j.meta[1:]...)
}

// State is the list of a topic as clients have been told it, as a presence_state has it.
func (t *Tracker) State(topic string) []byte {
	t.mu.Lock()
	tp := t.topics[topic]
	if tp == nil {
		t.mu.Unlock()
		return []byte("{}")
	}
	if state := tp.state; state != nil {
		t.mu.Unlock()
		return state
	}
	views := tp.views(told)
	t.mu.Unlock()
	state := appendList(nil, views)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.topics[topic] == tp && tp.state == nil { // Run alone changes what has been told, and asks
		tp.state = state
	}
	return state
}

// Entry is one who is on a topic.
type Entry struct {
	Key  string
	Ref  string          // names this state of the presence, over all nodes
	Meta json.RawMessage // an object, without phx_ref
}

// List is who is on a topic now: those that are listed, and how many there are in all.
func (t *Tracker) List(topic string) (list []Entry, total int) {
	views, total := t.present(topic)
	list = make([]Entry, len(views))
	for i, v := range views {
		list[i] = Entry{Key: v.key, Ref: v.ref.String(), Meta: json.RawMessage(v.meta)}
	}
	return list, total
}

// Members is List as a presence_state has it.
func (t *Tracker) Members(topic string) (members json.RawMessage, total int) {
	views, total := t.present(topic)
	return appendList(nil, views), total
}

// Count is how many are on a topic now.
func (t *Tracker) Count(topic string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if tp := t.topics[topic]; tp != nil {
		return tp.present
	}
	return 0
}

// present are those of a topic that are listed.
func (t *Tracker) present(topic string) (list []*view, total int) {
	t.mu.Lock()
	most := t.listed(topic)
	if tp := t.topics[topic]; tp != nil {
		list = tp.views(now)
	}
	t.mu.Unlock()
	return list[:min(most, len(list))], len(list)
}
