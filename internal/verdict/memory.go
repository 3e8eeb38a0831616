package verdict

import (
	"container/list"
	"time"
)

// MaxRemembered bounds the bytes of what an Asker remembers.
const MaxRemembered = 32 << 20

// rememberedCharge is what remembering takes beside the value, the name of the group and
// what Question.Holds keeps.
const rememberedCharge = 768

// memory is what was allowed, the oldest first.
type memory[T any] struct {
	byKey  map[Key]*list.Element // of order
	groups map[string]map[Key]struct{}
	order  *list.List // of *remembered[T]
	bytes  int
}

// remembered is one of them. It is not changed.
type remembered[T any] struct {
	key     Key
	group   string
	verdict Verdict[T]
	until   time.Time
	holds   func() bool // nil: it does
	charge  int         // bytes
}

// counts tells whether what it was given for does.
func (r *remembered[T]) counts() bool { return r.holds == nil || r.holds() }

func newMemory[T any]() memory[T] {
	return memory[T]{byKey: map[Key]*list.Element{}, groups: map[string]map[Key]struct{}{}, order: list.New()}
}

// at returns what is remembered, nil if nothing is.
func (m *memory[T]) at(key Key) *remembered[T] {
	if element := m.byKey[key]; element != nil {
		return element.Value.(*remembered[T])
	}
	return nil
}

// find returns what is remembered and has not ended, nil if nothing is.
func (m *memory[T]) find(key Key, now time.Time) *remembered[T] {
	known := m.at(key)
	if known != nil && !now.Before(known.until) {
		m.drop(known)
		return nil
	}
	return known
}

// keep remembers a verdict for a while, in place of another.
func (m *memory[T]) keep(q Question, v Verdict[T], while time.Duration, now time.Time) {
	m.drop(m.at(q.Key))
	until := now.Add(while)
	if !v.Until.IsZero() && v.Until.Before(until) {
		until = v.Until
	}
	charge := v.Bytes + q.Bytes + len(q.Group) + rememberedCharge
	if !now.Before(until) || charge > MaxRemembered {
		return
	}
	for m.bytes+charge > MaxRemembered || m.order.Len() > 0 && !now.Before(m.order.Front().Value.(*remembered[T]).until) {
		m.drop(m.order.Front().Value.(*remembered[T]))
	}
	m.byKey[q.Key] = m.order.PushBack(&remembered[T]{q.Key, q.Group, v, until, q.Holds, charge})
	if m.groups[q.Group] == nil {
		m.groups[q.Group] = map[Key]struct{}{}
	}
	m.groups[q.Group][q.Key] = struct{}{}
	m.bytes += charge
}

// forget forgets those of a group.
func (m *memory[T]) forget(group string) {
	for key := range m.groups[group] {
		m.drop(m.at(key))
	}
}

// drop forgets one, unless another has come in its place. Nil is none.
func (m *memory[T]) drop(known *remembered[T]) {
	if known == nil || m.at(known.key) != known {
		return
	}
	m.order.Remove(m.byKey[known.key])
	delete(m.byKey, known.key)
	if delete(m.groups[known.group], known.key); len(m.groups[known.group]) == 0 {
		delete(m.groups, known.group)
	}
	m.bytes -= known.charge
}
