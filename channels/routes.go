package channels

import (
	"fmt"
	"strings"
)

// Routes says which Channel serves which topic. It is filled before it is used,
// and not changed afterwards.
type Routes struct {
	routes []route
}

type route struct {
	pattern string
	factory Factory
}

// Handle serves the topics that match a pattern: a topic, or the beginning of
// topics followed by *. The first match in the order of Handle's calls wins.
// The topic "phoenix" belongs to the protocol.
func (r *Routes) Handle(pattern string, factory Factory) error {
	switch star := strings.IndexByte(pattern, '*'); {
	case pattern == "":
		return fmt.Errorf("handle %q: empty pattern", pattern)
	case star >= 0 && star < len(pattern)-1:
		return fmt.Errorf("handle %q: * is only allowed at the end", pattern)
	case factory == nil:
		return fmt.Errorf("handle %q: no factory", pattern)
	}
	r.routes = append(r.routes, route{pattern, factory})
	return nil
}

// Find returns the factory that serves a topic, or nil.
func (r *Routes) Find(topic string) Factory {
	if topic == "phoenix" {
		return nil
	}
	for _, route := range r.routes {
		if Matches(route.pattern, topic) {
			return route.factory
		}
	}
	return nil
}

// Matches tells whether a pattern, a topic or the beginning of topics followed
// by *, matches a topic.
func Matches(pattern, topic string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(topic, prefix)
	}
	return pattern == topic
}
