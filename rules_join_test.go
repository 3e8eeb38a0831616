package sluice

import (
	"testing"

	"github.com/sluicehq/sluice/socket/auth"
)

func TestRules(t *testing.T) {
	t.Parallel()
	rules := []TopicRule{
		{Match: "secret:*", Access: "deny"},
		{Match: "room:lobby"},
		{Match: "room:*", Access: "token"},
	}
	seven := &auth.Access{Topics: []string{"room:7", "secret:7"}, Listed: true}
	for _, test := range []struct {
		name  string
		rules []TopicRule
		topic string
		token *auth.Access
		want  bool
	}{
		{"no rules, no token", nil, "any", nil, true},
		{"no rules, a token that lists nothing", nil, "any", &auth.Access{}, true},
		{"no rules, a token that lists it", nil, "room:7", seven, true},
		{"no rules, a token that lists others", nil, "room:8", seven, false},
		{"an empty list", []TopicRule{}, "any", seven, false},
		{"no match", rules, "any", seven, false},
		{"denied", rules, "secret:7", seven, false},
		{"public", rules, "room:lobby", nil, true},
		{"with a token", rules, "room:7", seven, true},
		{"with a token for another", rules, "room:8", seven, false},
		{"without a token", rules, "room:7", nil, false},
	} {
		if got := mayJoin(newTopicRules(test.rules), test.topic, test.token); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
