package main

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/sluicehq/sluice"
)

// hooksKey is the other setting that only a file can give: the hooks of the application.
const hooksKey = "hooks"

// hooksHint says what may stand there.
const hooksHint = "hooks have secret-file, connect, join and push; each of the three has url, and may have timeout and max-in-flight, connect also headers, and join cache"

// hooksField is a field of the hooks, as a [sluice.FieldError] names it.
var hooksField = regexp.MustCompile(`^Hooks\.(\w+)(?:\.(\w+))?$`)

// hooksName is what such a field is called in the file.
func hooksName(part []string) string {
	name := hooksKey + ": " + kebab(part[1])
	if part[2] != "" {
		name += ": " + kebab(part[2])
	}
	return name
}

// readHooks reads what stands below the key hooks.
func (r *configResolver) readHooks(path string, pair *ast.MappingValueNode) {
	r.file.places[hooksKey] = placeAt(path, pair.Key)
	r.readFields(path, hooksKey, hooksHint, pair.Value, reflect.ValueOf(&r.file.hooks).Elem())
}

// readFields reads a mapping into a struct whose fields name their keys; hint says which
// there are.
func (r *configResolver) readFields(path, name, hint string, node ast.Node, into reflect.Value) {
	mapping, ok := unanchored(node).(*ast.MappingNode)
	if !ok {
		r.fault(placeAt(path, node), name, true, "%s: expected %s, not %s; %s", name, shapes[ast.MappingType], shapes[node.Type()], hint)
		return
	}
	r.findDuplicates(path, mapping, map[string]place{}, name+": ")
	for _, pair := range mapping.Values {
		key := pair.Key.GetToken().Value
		field, setting := ruleFieldNamed(into, key), name+": "+key
		switch {
		case !field.IsValid():
			r.fault(placeAt(path, pair.Key), name, true, "%s: unknown field %q; %s", name, key, hint)
		case field.Type() == reflect.TypeFor[sluice.Hook]():
			r.file.places[setting] = placeAt(path, pair.Key)
			r.readFields(path, setting, hint, pair.Value, field)
		default:
			r.file.places[setting] = placeAt(path, pair.Value)
			if err := yaml.NodeToValue(pair.Value, field.Addr().Interface(), yaml.Strict(), yaml.AllowDuplicateMapKey()); err != nil {
				field.SetZero()
				r.fault(r.file.places[setting], setting, false, "%s: %s", setting, unfit(err, pair.Value, field.Type()))
			}
		}
	}
}

// describeHooks tells of the hooks of a file, as comments.
func describeHooks(out *strings.Builder, file configFile) {
	for _, each := range []struct {
		name string
		hook sluice.Hook
	}{{"connect", file.hooks.Connect}, {"join", file.hooks.Join}, {"push", file.hooks.Push}} {
		if each.hook.URL != "" {
			setting := hooksKey + ": " + each.name
			fmt.Fprintf(out, "# %s: %s  # %v\n", setting, secretless(each.hook.URL), file.places[setting])
		}
	}
}
