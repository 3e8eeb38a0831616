package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// Kinds of topics, by what their rule has them do. Clients join all of them
// with after, so that none may shed.
const (
	plainTopic     = "plain"
	collectedTopic = "collected" // with flush-interval, and repeats told by the payload: there are none
	latestTopic    = "latest"    // overflow: latest
	strictTopic    = "strict"    // overflow: disconnect, and repeats told as there
	openTopic      = "open"      // publish: broadcast, to whoever is hostile
	heldTopic      = "held"      // intercepted, by a node that is a program of its own
	loggedTopic    = "logged"    // publish: log
	lonelyTopic    = "lonely"    // watched by one client, which comes and goes
)

var topicKinds = []string{plainTopic, collectedTopic, latestTopic, strictTopic, openTopic, heldTopic, loggedTopic}

// flushInterval is how long a collected topic's events are collected.
const flushInterval = 300 * time.Millisecond

// topicNames are the names of the run's topics: of each kind in turn, then one for each
// client that is alone on its own, and those of watchers.
func (c *Chaos) topicNames() (names []string) {
	for i := range c.Topics {
		names = append(names, topicName(topicKinds[i%len(topicKinds)], i))
	}
	for i := range c.Sockets {
		if profiles[i%len(profiles)] == lonelyProfile {
			names = append(names, topicName(lonelyTopic, i))
		}
	}
	return append(names, c.hereTopics()...)
}

func topicName(kind string, i int) string { return fmt.Sprintf("%s%s:%d", swarm.TopicPrefix, kind, i) }

// ofKind are the names among these that are of a kind.
func ofKind(topics []string, kind string) (some []string) {
	for _, topic := range topics {
		if strings.HasPrefix(topic, swarm.TopicPrefix+kind+":") {
			some = append(some, topic)
		}
	}
	return some
}

// rules are what the nodes serve the topics by.
func (c *Chaos) rules() []sluice.TopicRule {
	match := func(kind string) string { return swarm.TopicPrefix + kind + ":*" }
	unlike := sluice.DedupePayload
	if c.Embedded {
		unlike = sluice.DedupeOffset // payloads are erased there, and then alike
	}
	return []sluice.TopicRule{
		{Match: match(collectedTopic), FlushInterval: flushInterval, Dedupe: unlike},
		{Match: match(latestTopic), Overflow: sluice.Latest},
		{Match: match(strictTopic), Overflow: sluice.Disconnect, Dedupe: unlike},
		{Match: match(openTopic), Publish: "broadcast"},
		{Match: match(loggedTopic), Publish: "log"},
		{Match: match(hereTopic), Presence: sluice.PresenceRule{On: true, Key: sluice.PresenceKeyClient}},
		{Match: swarm.TopicPrefix + "*"},
	}
}

// rulesFile is what a node reads: the rules as YAML.
func (c *Chaos) rulesFile() string {
	var b strings.Builder
	b.WriteString("topics:\n")
	for _, rule := range c.rules() {
		fmt.Fprintf(&b, "  - match: %q\n", rule.Match)
		for _, field := range []struct{ name, value string }{{"overflow", rule.Overflow.String()}, {"publish", string(rule.Publish)}, {"dedupe", rule.Dedupe.String()}} {
			if field.value != "" {
				fmt.Fprintf(&b, "    %s: %s\n", field.name, field.value)
			}
		}
		if rule.Presence.On {
			fmt.Fprintf(&b, "    presence: {key: %s}\n", rule.Presence.Key)
		}
		if rule.FlushInterval > 0 {
			fmt.Fprintf(&b, "    flush-interval: %v\n", rule.FlushInterval)
		}
	}
	return b.String()
}
