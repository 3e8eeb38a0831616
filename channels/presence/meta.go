package presence

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/store"
)

// Bounds of what stands in one presence.
const (
	// MaxKey is how many bytes a key may have.
	MaxKey = 255
	// MaxMeta is how many bytes a meta may have, whatever a topic's rule says.
	MaxMeta = 64 << 10
	// DefaultMeta is how many it may have unless a topic's rule says otherwise.
	DefaultMeta = 1 << 10
	// DefaultMax is how many presences of a topic are listed unless its rule says otherwise.
	DefaultMax = 1000

	maxDepth = 32 // of objects and lists in a meta: parsers of some clients go no deeper
)

// refused are keys that clients of phoenix 1.7 take for what every object of JavaScript
// has: one of them in a list breaks the handler of everyone on the topic.
var refused = []string{
	"__proto__", "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf",
	"__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__",
}

// CheckKey returns a [*store.InvalidError] for what cannot be a key.
func CheckKey(key string) error {
	switch {
	case key == "" || len(key) > MaxKey:
		return invalid("key", fmt.Sprintf("has %d bytes; 1 to %d are allowed", len(key), MaxKey))
	case !utf8.ValidString(key):
		return invalid("key", "is not valid UTF-8")
	case strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("key", "contains a control character")
	case slices.Contains(refused, key):
		return invalid("key", fmt.Sprintf("must not be %q: clients take it for a property of every object", key))
	}
	return nil
}

// Meta is a meta as it is kept: a JSON object without the members that are the service's
// own (phx_ref, phx_ref_prev), and without white space. An error is a
// [*store.InvalidError].
func Meta(data []byte, maxBytes int) (string, error) {
	if len(data) > 2*MaxMeta { // with white space, or escapes
		return "", invalid("meta", fmt.Sprintf("has %d bytes; at most %d are allowed", len(data), maxBytes))
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	if first, err := dec.ReadToken(); err != nil || first.Kind() != '{' {
		return "", invalid("meta", "is not a JSON object")
	}
	out := []byte{'{'}
	for {
		token, err := dec.ReadToken()
		if err != nil {
			return "", invalid("meta", "is not a JSON object: "+err.Error())
		}
		if token.Kind() == '}' {
			break
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err == nil {
			err = value.Compact()
		}
		switch {
		case err != nil:
			return "", invalid("meta", "is not a JSON object: "+err.Error())
		case depth(value) > maxDepth:
			return "", invalid("meta", fmt.Sprintf("is nested deeper than %d", maxDepth))
		case name == "phx_ref" || name == "phx_ref_prev":
			continue
		case len(out) > 1:
			out = append(out, ',')
		}
		out, _ = jsontext.AppendQuote(out, name) // the decoder has seen that it is UTF-8
		out = append(append(out, ':'), value...)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return "", invalid("meta", "is not one JSON object")
	}
	if out = append(out, '}'); len(out) > maxBytes {
		return "", invalid("meta", fmt.Sprintf("has %d bytes; at most %d are allowed", len(out), maxBytes))
	}
	return string(out), nil
}

// depth is how deep a valid JSON value is nested.
func depth(value []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

func invalid(field, reason string) error {
	return &store.InvalidError{Index: -1, Field: field, Reason: reason}
}
