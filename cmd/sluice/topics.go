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

// readTopics reads the rules below the key topics.
func readTopics(path string, node ast.Node) ([]sluice.TopicRule, error) {
	var rules []sluice.TopicRule
	err := yaml.NodeToValue(node, &rules, yaml.Strict())
	if problem := yaml.Error(nil); errors.As(err, &problem) && problem.GetToken() != nil {
		return nil, fmt.Errorf("%s:%d: topics: %s; a rule has match, and may have access and publish",
			path, problem.GetToken().Position.Line, problem.GetMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: topics takes a list of rules: %w", at(path, node), err)
	}
	return rules, nil
}
