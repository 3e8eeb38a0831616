package main

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/sluicehq/sluice"
)

// topicsKey is a setting that only a file can give: the rules for topics.
const topicsKey = "topics"

// ruleHint says what a rule may have.
const ruleHint = "a rule has match, and may have access, function, publish, overflow, mailbox-size, dedupe, dedupe-window, flush-interval, max-last, compress, presence and tags"

// readTopics reads the rules below the key topics. With the key there is a list,
// if an empty one: it denies, where no key at all would open everything.
//
// The library decodes them. What it says of a value that does not fit is in Go's
// words: here it is said in those of the file.
func (r *configResolver) readTopics(path string, pair *ast.MappingValueNode) {
	r.file.topics = []sluice.TopicRule{}
	if sequence, ok := pair.Value.(*ast.SequenceNode); ok {
		for i, entry := range sequence.Values {
			r.locateRule(path, ruleName(i), entry)
		}
	}
	rules := []sluice.TopicRule{}
	whole := yaml.NodeToValue(pair.Value, &rules, yaml.Strict(), yaml.AllowDuplicateMapKey())
	if whole == nil {
		r.file.topics = append(r.file.topics, rules...)
		return
	}
	sequence, ok := pair.Value.(*ast.SequenceNode)
	if !ok {
		r.fault(placeAt(path, pair.Key), topicsKey, true, "topics: expected %s, not %s; %s", shapes[ast.SequenceType], shapes[pair.Value.Type()], ruleHint)
		return
	}
	if len(ast.Filter(ast.AliasType, sequence)) > 0 { // no rule can be read by itself
		if r.refuseNames(sequence) {
			return
		}
		at, message := placeAt(path, pair.Key), whole.Error()
		if problem := yaml.Error(nil); errors.As(whole, &problem) && problem.GetToken() != nil {
			position := problem.GetToken().Position
			at, message = place{path, position.Line, position.Column}, problem.GetMessage()
		}
		r.fault(at, topicsKey, true, "topics: %s; %s", message, ruleHint)
		return
	}
	for i, entry := range sequence.Values {
		r.file.topics = append(r.file.topics, r.readRule(path, ruleName(i), entry))
	}
}

// ruleName is how a rule is called, counted from 1, as in what flagOf makes of its
// fields.
func ruleName(index int) string { return fmt.Sprintf("%s: rule %d", topicsKey, index+1) }

// locateRule keeps where a rule and its fields stand, and notes what it has twice.
func (r *configResolver) locateRule(path, rule string, node ast.Node) {
	r.file.places[rule] = placeAt(path, node)
	mapping, ok := unanchored(node).(*ast.MappingNode)
	if !ok {
		return
	}
	r.findDuplicates(path, mapping, map[string]place{}, rule+": ")
	for i, pair := range mapping.Values {
		if i == 0 {
			r.file.places[rule] = placeAt(path, pair.Key)
		}
		name := pair.Key.GetToken().Value
		r.file.places[rule+": "+name] = placeAt(path, pair.Value)
		if tags, ok := pair.Value.(*ast.MappingNode); ok {
			r.file.places[rule+": "+name] = placeAt(path, pair.Key)
			r.findDuplicates(path, tags, map[string]place{}, rule+": "+name+": ")
		}
	}
}

// readRule reads what can be read of a rule, and notes what cannot.
func (r *configResolver) readRule(path, rule string, node ast.Node) (read sluice.TopicRule) {
	mapping, ok := unanchored(node).(*ast.MappingNode)
	if !ok {
		r.fault(placeAt(path, node), rule, true, "%s: expected %s, not %s; %s", rule, shapes[ast.MappingType], shapes[node.Type()], ruleHint)
		return read
	}
	fields := reflect.ValueOf(&read).Elem()
	meant := "" // what a key that is not known may have been meant for
	if !slices.ContainsFunc(mapping.Values, func(pair *ast.MappingValueNode) bool { return pair.Key.GetToken().Value == "match" }) {
		meant = rule + ": match"
	}
	for _, pair := range mapping.Values {
		name, key := pair.Key.GetToken().Value, placeAt(path, pair.Key)
		field := ruleFieldNamed(fields, name)
		if !field.IsValid() {
			r.fault(key, meant, true, "%s: unknown field %q; %s", rule, name, ruleHint)
			continue
		}
		if wrong := readName(rule+": "+name, pair.Value, field); wrong != nil {
			r.refuse(wrong)
			continue
		}
		into := field
		if field.Kind() == reflect.Pointer && pair.Value.Type() != ast.NullType { // the library decodes anything into one that is nil
			field.Set(reflect.New(field.Type().Elem()))
			into = field.Elem()
		}
		if err := yaml.NodeToValue(pair.Value, into.Addr().Interface(), yaml.Strict(), yaml.AllowDuplicateMapKey()); err != nil {
			field.SetZero()
			r.fault(r.file.places[rule+": "+name], rule+": "+name, false, "%s: %s: %s", rule, name, unfit(err, pair.Value, field.Type()))
		}
	}
	return read
}

// refuseNames refuses what rules have that there is no such name for.
func (r *configResolver) refuseNames(rules *ast.SequenceNode) (refused bool) {
	for i, entry := range rules.Values {
		mapping, ok := unanchored(entry).(*ast.MappingNode)
		if !ok {
			continue
		}
		into := reflect.New(reflect.TypeFor[sluice.TopicRule]()).Elem()
		for _, pair := range mapping.Values {
			name := pair.Key.GetToken().Value
			if field := ruleFieldNamed(into, name); field.IsValid() {
				if wrong := readName(ruleName(i)+": "+name, pair.Value, field); wrong != nil {
					r.refuse(wrong)
					refused = true
				}
			}
		}
	}
	return refused
}

// readName reads into a field that takes names, and refuses one that there is not. Of
// other fields and shapes it does nothing.
func readName(setting string, node ast.Node, field reflect.Value) *usageError {
	var unknown *sluice.NameError
	text, ok := field.Addr().Interface().(encoding.TextUnmarshaler)
	if _, scalar := unanchored(node).(ast.ScalarNode); !ok || !scalar {
		return nil
	}
	given := unanchored(node).GetToken().Value
	if errors.As(text.UnmarshalText([]byte(given)), &unknown) {
		return &usageError{setting, given, strings.Join(unknown.Allowed, ", ")}
	}
	return nil
}

// unanchored is what an anchor names, or else the node itself.
func unanchored(node ast.Node) ast.Node {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		return anchor.Value
	}
	return node
}

// ruleFieldNamed is the field of a rule that has a key; not valid if none has.
func ruleFieldNamed(rule reflect.Value, key string) reflect.Value {
	for i := range rule.NumField() {
		if rule.Type().Field(i).Tag.Get("yaml") == key {
			return rule.Field(i)
		}
	}
	return reflect.Value{}
}

// unfit says why a value of a rule cannot be taken.
func unfit(err error, node ast.Node, want reflect.Type) string {
	var wrong *yaml.TypeError
	var shape *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &wrong):
		return fmt.Sprintf("%s is not %s", written(wrong.Token), wantOf(wrong.DstType))
	case errors.As(err, &shape):
		return fmt.Sprintf("expected %s, not %s", shapes[shape.Expected], shapes[shape.Actual])
	case strings.HasPrefix(err.Error(), "time: "): // it has no type, and no place
		return fmt.Sprintf("%s is not %s", written(node.GetToken()), wantOf(want))
	}
	return err.Error()
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
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
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
