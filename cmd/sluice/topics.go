package main

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/sluicehq/sluice"
)

// topicsKey is the one setting that only a file can give: the rules for topics.
const topicsKey = "topics"

// ruleKeys are what a rule may have, besides what it matches.
const ruleKeys = "access, publish, overflow, mailbox-size, dedupe, dedupe-window, flush-interval and tags"

// readTopics reads the rules below the key topics.
func readTopics(path string, node ast.Node) ([]sluice.TopicRule, error) {
	var rules []sluice.TopicRule
	err := yaml.NodeToValue(node, &rules, yaml.Strict())
	if err == nil {
		return rules, nil
	}
	position, message := at(path, node), err.Error()
	if problem := yaml.Error(nil); errors.As(err, &problem) && problem.GetToken() != nil {
		position, message = fmt.Sprintf("%s:%d", path, problem.GetToken().Position.Line), problem.GetMessage()
	}
	return nil, fmt.Errorf("%s: topics: %s; a rule has match, and may have %s", position, message, ruleKeys)
}
