package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/sluicehq/sluice"
)

// fileValue is a setting as the file gives it: a string, a []any or a
// map[string]any of strings. It is read as the flag's value would be.
type fileValue struct {
	value    any
	position string // file:line
}

// readConfig reads a YAML file whose keys are the names of flags, of any
// command: one file serves them all. Beside them may stand the rules for
// topics. Errors name the file and the line.
func readConfig(path string, app *kong.Application) (_ map[string]fileValue, topics []sluice.TopicRule, _ error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, &usageError{"--config", path, fmt.Sprintf("a YAML file that can be read (%v)", errors.Unwrap(err))}
	}
	source = bytes.TrimPrefix(source, []byte("\ufeff")) // as editors write it (YAML 1.2, section 5.2)
	file, err := parser.ParseBytes(source, 0)
	if err != nil {
		return nil, nil, syntaxError(path, err)
	}
	flags := fileFlags(app)
	settings := map[string]fileValue{}
	for _, document := range file.Docs {
		switch body := document.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode: // an empty file sets nothing
		case *ast.MappingNode:
			for _, pair := range body.Values {
				name := pair.Key.GetToken().Value
				position := at(path, pair.Key)
				if name == topicsKey {
					if topics, err = readTopics(path, pair.Value); err != nil {
						return nil, nil, err
					}
					continue
				}
				flag, known := flags[name]
				if !known {
					return nil, nil, fmt.Errorf("%s: %q is no setting%s", position, name, suggest(name, flags))
				}
				value, err := settingOf(flag, pair.Value)
				if err != nil {
					return nil, nil, fmt.Errorf("%s: %s %w", position, name, err)
				}
				if _, twice := settings[name]; twice {
					return nil, nil, fmt.Errorf("%s: %s is given twice", position, name)
				}
				settings[name] = fileValue{value, position}
			}
		default:
			return nil, nil, fmt.Errorf("%s: expected lines of the form name: value, such as max-demand: 1000", at(path, body))
		}
	}
	return settings, topics, nil
}

// fileFlags is what may stand in a file, by name.
func fileFlags(app *kong.Application) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, command := range app.Leaves(false) {
		for _, flag := range command.Flags {
			flags[flag.Name] = flag
		}
	}
	return flags
}

// settingOf converts a node to what the flag takes. Scalars stay as they are
// written, since the flag knows best how to read them.
func settingOf(flag *kong.Flag, node ast.Node) (any, error) {
	switch {
	case flag.IsMap():
		mapping, ok := node.(*ast.MappingNode)
		if !ok {
			return nil, errors.New("takes lines of the form key: value below it")
		}
		settings := map[string]any{}
		for _, pair := range mapping.Values {
			value, ok := scalar(pair.Value)
			if !ok {
				return nil, fmt.Errorf("takes a plain value for %q", pair.Key.GetToken().Value)
			}
			settings[pair.Key.GetToken().Value] = value
		}
		return settings, nil
	case flag.IsSlice():
		sequence, ok := node.(*ast.SequenceNode)
		if !ok {
			return nil, errors.New("takes a list, such as [one, two]")
		}
		settings := []any{}
		for _, entry := range sequence.Values {
			value, ok := scalar(entry)
			if !ok {
				return nil, errors.New("takes a list of plain values")
			}
			settings = append(settings, value)
		}
		return settings, nil
	}
	value, ok := scalar(node)
	if !ok {
		return nil, fmt.Errorf("takes one plain value, not a %s", node.Type().YAMLName())
	}
	return value, nil
}

// scalar returns a plain value as it is written; ok is false for anything
// else, null included.
func scalar(node ast.Node) (written string, ok bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.LiteralNode:
		return node.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return node.GetToken().Value, true
	}
	return "", false
}

func at(path string, node ast.Node) string {
	return fmt.Sprintf("%s:%d", path, node.GetToken().Position.Line)
}

func syntaxError(path string, err error) error {
	var problem yaml.Error
	if errors.As(err, &problem) && problem.GetToken() != nil {
		return fmt.Errorf("%s:%d: this is no YAML: %s", path, problem.GetToken().Position.Line, problem.GetMessage())
	}
	return fmt.Errorf("%s: this is no YAML: %w", path, err)
}

// suggest names the setting that was probably meant, if one is near enough to
// be more help than noise.
func suggest(name string, flags map[string]*kong.Flag) string {
	if meant := nearest(strings.ReplaceAll(strings.ToLower(name), "_", "-"), flags, len(name)/3); meant != "" {
		return fmt.Sprintf(": did you mean %q?", meant)
	}
	return ""
}

// nearest is the name that differs least from the given one, "" if none differs by as
// few letters as that.
func nearest(name string, among map[string]*kong.Flag, letters int) string {
	found, distance := "", letters+1
	for candidate := range among {
		d := editDistance(name, candidate)
		if d < distance || d == distance && found != "" && candidate < found {
			found, distance = candidate, d
		}
	}
	return found
}

// editDistance counts the letters to insert, drop or replace to get from a to
// b (Levenshtein), one row of the table at a time.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := slices.Clone(row)
		row[0] = i + 1
		for j := range len(b) {
			replace := previous[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, previous[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
