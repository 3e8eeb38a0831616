package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Validate checks the draft against the rules of the tables, so that a bad one
// is refused before it can share a commit with others. The error is an
// [*InvalidError] with Index 0.
func (d *Draft) Validate() error {
	if err := d.check(); err != nil {
		return err
	}
	return nil
}

// ValidateAll returns the [*InvalidError] of the first draft that is not
// valid, or nil.
func ValidateAll(drafts []Draft) error {
	for i := range drafts {
		if err := drafts[i].check(); err != nil {
			err.Index = i
			return err
		}
	}
	return nil
}

func (d *Draft) check() *InvalidError {
	refuse := func(field, reason string) *InvalidError { return &InvalidError{Field: field, Reason: reason} }

	if reason := checkName(d.Topic, MaxTopicBytes); reason != "" {
		return refuse("topic", reason)
	}
	if d.Topic == "phoenix" {
		return refuse("topic", `must not be "phoenix": the protocol's heartbeats use it`)
	}
	if reason := checkName(d.Name, MaxNameBytes); reason != "" {
		return refuse("event", reason)
	}
	if strings.HasPrefix(d.Name, "phx_") {
		return refuse("event", `must not begin with "phx_": the protocol's own messages do`)
	}
	if len(d.Key) > MaxKeyBytes {
		return refuse("key", fmt.Sprintf("has %d bytes; at most %d are allowed", len(d.Key), MaxKeyBytes))
	}
	if reason := checkText(d.Key); reason != "" {
		return refuse("key", reason)
	}
	if reason := checkPayload(d.Payload); reason != "" {
		return refuse("payload", reason)
	}
	return nil
}

func checkName(name string, maxBytes int) (reason string) {
	switch {
	case name == "":
		return fmt.Sprintf("is empty; 1 to %d bytes are allowed", maxBytes)
	case len(name) > maxBytes:
		return fmt.Sprintf("has %d bytes; 1 to %d are allowed", len(name), maxBytes)
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	case strings.IndexByte(name, 0) >= 0:
		return "contains a NUL character"
	}
	return ""
}

func checkText(text []byte) (reason string) {
	switch {
	case !utf8.Valid(text):
		return "is not valid UTF-8"
	case bytes.IndexByte(text, 0) >= 0:
		return "contains a NUL character"
	}
	return ""
}

// checkPayload wants one JSON object. The JSON grammar excludes a NUL byte by
// itself, but not bytes that are no UTF-8. What it leaves to applications, such
// as the same name twice or half of a surrogate pair, is theirs.
func checkPayload(payload []byte) (reason string) {
	switch {
	case len(payload) == 0:
		return ""
	case !utf8.Valid(payload):
		return "is not valid UTF-8"
	case !jsontext.Value(payload).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)):
		var syntax *json.SyntaxError
		if err := json.Unmarshal(payload, new(json.RawMessage)); errors.As(err, &syntax) {
			return fmt.Sprintf("is not valid JSON: %v at byte %d", syntax, syntax.Offset)
		}
		return "is not valid JSON"
	case bytes.TrimLeft(payload, " \t\r\n")[0] != '{':
		return "is not a JSON object"
	}
	return ""
}
