package patterns

import "strings"

// Index is patterns in their order. The zero value has none. Add is not to be called at the
// same time as anything else.
type Index struct {
	count    int
	exact    map[string]int // the first pattern that is this topic, by the topic
	prefixes map[string]int // the first that begins so, by the prefix
	lengths  []bool         // at each length that a prefix has
}

// Of returns the index of patterns.
func Of(patterns ...string) *Index {
	x := new(Index)
	for _, each := range patterns {
		x.Add(each)
	}
	return x
}

// Add puts a pattern behind those that are there.
func (x *Index) Add(pattern string) {
	if x.exact == nil {
		x.exact, x.prefixes = map[string]int{}, map[string]int{}
	}
	first, topics := x.exact, pattern
	if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
		first, topics = x.prefixes, prefix
		for len(x.lengths) <= len(prefix) {
			x.lengths = append(x.lengths, false)
		}
		x.lengths[len(prefix)] = true
	}
	if _, there := first[topics]; !there {
		first[topics] = x.count
	}
	x.count++
}

// Match returns the number, from 0, of the first pattern that matches a topic; -1 if none
// does.
func (x *Index) Match(topic string) int { return x.earlier(x.exact, topic, x.begins(topic)) }

// Covers returns the number, from 0, of the first pattern that matches all topics that
// another pattern does, by itself; -1 if none does.
func (x *Index) Covers(other string) int {
	return x.earlier(x.exact, other, x.begins(strings.TrimSuffix(other, "*")))
}

// begins returns the number of the first prefix that a topic begins with, -1 if it begins
// with none.
func (x *Index) begins(topic string) int {
	first := -1
	for n, used := range x.lengths[:min(len(x.lengths), len(topic)+1)] {
		if used {
			first = x.earlier(x.prefixes, topic[:n], first)
		}
	}
	return first
}

// earlier returns the earlier of two patterns: one that may be in a map, and one that is known
// or -1.
func (x *Index) earlier(in map[string]int, key string, known int) int {
	if i, found := in[key]; found && (known < 0 || i < known) {
		return i
	}
	return known
}
