package main

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/sluicehq/sluice"
)

// topicsKey is the one setting that only a file can give: the rules for topics.
const topicsKey = "topics"

// ruleKeys are what a rule may have, besides what it matches.
const ruleKeys = "access, publish, overflow, mailbox-size, dedupe, dedupe-window, flush-interval and tags"

// readTopics reads the rules below the key topics. With the key there is a list,
// if an empty one: it denies, where no key at all would open everything.
//
// The library decodes them. What it says of a value that does not fit is in Go's
// words: here it is said in those of the file.
func readTopics(path string, node ast.Node) ([]sluice.TopicRule, error) {
	rules := []sluice.TopicRule{}
	err := yaml.NodeToValue(node, &rules, yaml.Strict())
	if err == nil && rules == nil {
		rules = []sluice.TopicRule{}
	}
	if err == nil {
		return rules, nil
	}
	position, message := at(path, node), err.Error()
	if problem := yaml.Error(nil); errors.As(err, &problem) && problem.GetToken() != nil {
		position, message = fmt.Sprintf("%s:%d", path, problem.GetToken().Position.Line), problem.GetMessage()
	}
	var unfit *yaml.TypeError
	var shape *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unfit):
		message = fmt.Sprintf("%s is not %s", written(unfit.Token), wantOf(unfit.DstType))
		if field := unfit.StructFieldName; field != nil {
			_, name, _ := strings.Cut(*field, ".")
			message = kebab(name) + ": " + message
		}
	case errors.As(err, &shape):
		message = fmt.Sprintf("expected %s, not %s", shapes[shape.Expected], shapes[shape.Actual])
	case strings.HasPrefix(err.Error(), "time: "): // it has no type, and no place
		message = strings.TrimPrefix(message, "time: ") + ": want " + wantOf(reflect.TypeFor[time.Duration]())
	}
	return nil, fmt.Errorf("%s: topics: %s; a rule has match, and may have %s", position, message, ruleKeys)
}

// shapes are the words for what a file can hold.
var shapes = map[ast.NodeType]string{
	ast.MappingType: "lines of the form key: value", ast.SequenceType: "a list, of lines that begin with -",
	ast.StringType: "one plain value", ast.LiteralType: "one plain value", ast.IntegerType: "one plain value", ast.FloatType: "one plain value", ast.BoolType: "one plain value", ast.NullType: "nothing",
}

// written is a value as the file has it, as far as one word can say it.
func written(t *token.Token) string {
	switch t.Type {
	case token.SequenceStartType, token.SequenceEntryType:
		return "a list"
	case token.MappingStartType, token.MappingValueType:
		return "a mapping"
	}
	return strconv.Quote(t.Value)
}

// wantOf says in the file's words what a Go type is written as.
func wantOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, such as 200ms"
	case t.Kind() == reflect.Int:
		return "a whole number"
	case t.Kind() == reflect.Map:
		return "lines of the form key: value below it"
	case t.Kind() == reflect.Slice:
		return "a list of rules, such as - match: room:*"
	case t.Kind() == reflect.Struct:
		return "a rule, such as - match: room:*"
	}
	return "one plain value"
}
