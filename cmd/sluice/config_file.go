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
	value any
	place place
}

// configFile is what a file says.
type configFile struct {
	settings map[string]fileValue // by flag
	topics   []sluice.TopicRule   // nil: it has no list of them
	hooks    sluice.Hooks
	webhooks []sluice.Webhook
	places   map[string]place // of what rules say, by the names that flagOf gives it
}

// readFile reads a YAML file whose keys are the names of flags, of any
// command: one file serves them all. Beside them may stand the rules for
// topics, hooks and webhooks. All faults are noted, with file, line and column.
func (r *configResolver) readFile(path string) {
	r.file = configFile{settings: map[string]fileValue{}, places: map[string]place{}}
	source, err := os.ReadFile(path)
	if err != nil {
		r.refuse(&usageError{"--config", path, fmt.Sprintf("a YAML file that can be read (%v)", errors.Unwrap(err))})
		return
	}
	source = bytes.TrimPrefix(source, []byte("\ufeff")) // as editors write it (YAML 1.2, section 5.2)
	file, err := parser.ParseBytes(source, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.noYAML(path, err)
		return
	}
	first := map[string]place{} // of each key, in whichever document
	for _, document := range file.Docs {
		switch body := document.Body.(type) {
		case nil, *ast.NullNode, *ast.CommentGroupNode: // an empty file sets nothing
		case *ast.MappingNode:
			r.findDuplicates(path, body, first, "")
			r.readSettings(path, body)
		default:
			r.fault(placeAt(path, body), "", true, "expected lines of the form name: value, such as max-demand: 1000")
		}
	}
}

// readSettings reads the keys of the file's own level.
func (r *configResolver) readSettings(path string, mapping *ast.MappingNode) {
	flags := fileFlags(r.app)
	for _, pair := range mapping.Values {
		name, key := pair.Key.GetToken().Value, placeAt(path, pair.Key)
		if name == topicsKey {
			r.readTopics(path, pair)
			continue
		}
		if name == hooksKey {
			r.readHooks(path, pair)
			continue
		}
		if name == webhooksKey {
			r.readWebhooks(path, pair)
			continue
		}
		flag, known := flags[name]
		if !known {
			r.fault(key, "", true, "%q is no setting%s", name, suggest(name, flags))
			continue
		}
		if entries, ok := pair.Value.(*ast.MappingNode); ok && flag.IsMap() {
			r.findDuplicates(path, entries, map[string]place{}, name+": ")
		}
		value, err := settingOf(flag, pair.Value)
		if err != nil {
			r.fault(key, "--"+name, true, "%s %v", name, err)
			continue
		}
		r.file.settings[name] = fileValue{value, placeAt(path, pair.Value)}
	}
}

// findDuplicates notes the keys of a mapping that were there before. first has where;
// prefix says what the mapping belongs to.
func (r *configResolver) findDuplicates(path string, mapping *ast.MappingNode, first map[string]place, prefix string) {
	for _, pair := range mapping.Values {
		name, at := pair.Key.GetToken().Value, placeAt(path, pair.Key)
		if before, twice := first[name]; twice {
			r.fault(at, "", false, "%s%s is given twice, first in line %d", prefix, name, before.line)
			continue
		}
		first[name] = at
	}
}

// fileFlags is what may stand in a file, by name.
func fileFlags(app *kong.Application) map[string]*kong.Flag {
	flags := map[string]*kong.Flag{}
	for _, command := range app.Leaves(false) {
		for _, flag := range command.Flags {
			flags[settingName(flag)] = flag
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

func placeAt(path string, node ast.Node) place {
	at := node.GetToken().Position
	return place{path, at.Line, at.Column}
}

// noYAML notes why a file cannot be read as YAML, of which there is one reason at a time.
func (r *configResolver) noYAML(path string, err error) {
	var problem yaml.Error
	if errors.As(err, &problem) && problem.GetToken() != nil {
		at := problem.GetToken().Position
		r.fault(place{path, at.Line, at.Column}, "", true, "this is no YAML: %s", problem.GetMessage())
		return
	}
	r.faults = append(r.faults, fault{text: fmt.Sprintf("%s: this is no YAML: %v", path, err), help: true})
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
