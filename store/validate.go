package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Validate checks the draft against the rules of the tables, so that a bad one
// is refused before it can share a commit with others; 0 stands for no bound of
// the payload. The error is an [*InvalidError] with Index 0.
func (d *Draft) Validate(maxPayload int64) error {
	if err := d.check(maxPayload); err != nil {
		return err
	}
	return nil
}

// ValidateAll returns the [*InvalidError] of the first draft that is not
// valid, or nil.
func ValidateAll(drafts []Draft, maxPayload int64) error {
	for i := range drafts {
		if err := drafts[i].check(maxPayload); err != nil {
			err.Index = i
			return err
		}
	}
	return nil
}

func (d *Draft) check(maxPayload int64) *InvalidError {
	refuse := func(field, reason string) *InvalidError { return &InvalidError{Field: field, Reason: reason} }

	if reason := checkTopic(d.Topic); reason != "" {
		return refuse("topic", reason)
	}
	if reason := checkEvent(d.Name); reason != "" {
		return refuse("event", reason)
	}
	if len(d.Key) > MaxKeyBytes {
		return refuse("key", fmt.Sprintf("has %d bytes; at most %d are allowed", len(d.Key), MaxKeyBytes))
	}
	if reason := checkText(d.Key); reason != "" {
		return refuse("key", reason)
	}
	if reason := checkSize(d.Payload, maxPayload); reason != "" {
		return refuse("payload", reason)
	}
	if reason := checkPayload(d.Payload); reason != "" {
		return refuse("payload", reason)
	}
	return nil
}

// CheckTopic returns an [*InvalidError] if nobody may publish to this topic, or
// broadcast: it is no name, the protocol's, or the service's own.
func CheckTopic(topic string) error {
	if reason := checkTopic(topic); reason != "" {
		return &InvalidError{Index: -1, Field: "topic", Reason: reason}
	}
	return nil
}

// CheckEvent returns an [*InvalidError] if clients could not be sent an event of this
// name, or would take it for what it is not: the one rule for all ways in.
func CheckEvent(name string) error {
	if reason := checkEvent(name); reason != "" {
		return &InvalidError{Index: -1, Field: "event", Reason: reason}
	}
	return nil
}

// CheckPayload returns an [*InvalidError] if a text is not what an event carries: a
// JSON object, since stock clients fail at anything else.
func CheckPayload(payload []byte) error {
	if reason := checkPayload(payload); reason != "" {
		return &InvalidError{Index: -1, Field: "payload", Reason: reason}
	}
	return nil
}

// CheckSize returns an [*InvalidError] if a payload has more bytes than the bound; 0
// stands for none.
func CheckSize(payload []byte, maxPayload int64) error {
	if reason := checkSize(payload, maxPayload); reason != "" {
		return &InvalidError{Index: -1, Field: "payload", Reason: reason}
	}
	return nil
}

// OwnTopics begins the topics that are the service's own: nobody publishes there.
const OwnTopics = "sluice:"

// ValidTopic tells whether a topic can be joined, the service's own among them.
func ValidTopic(topic string) bool { return checkName(topic, MaxTopicBytes) == "" }

func checkTopic(topic string) (reason string) {
	switch reason = checkName(topic, MaxTopicBytes); {
	case reason != "":
		return reason
	case topic == "phoenix":
		return `must not be "phoenix": the protocol's heartbeats use it`
	case strings.HasPrefix(topic, OwnTopics):
		return `must not begin with "` + OwnTopics + `": the service's own topics do`
	}
	return ""
}

// Events that clients read themselves, or that the service alone sends: the beginnings
// of names, and whole ones.
var (
	ownBeginnings = []string{"phx_", "chan_reply_", "sluice_"}
	ownEvents     = []string{"presence_state", "presence_diff", "access_token"}
)

func checkEvent(name string) (reason string) {
	if reason = checkName(name, MaxNameBytes); reason != "" {
		return reason
	}
	for _, beginning := range ownBeginnings {
		if strings.HasPrefix(name, beginning) {
			return fmt.Sprintf("must not begin with %q: messages of the protocol or the service do", beginning)
		}
	}
	if slices.Contains(ownEvents, name) {
		return fmt.Sprintf("must not be %q: a message of the protocol is", name)
	}
	return ""
}

func checkName(name string, maxBytes int) (reason string) {
	switch {
	case name == "":
		return fmt.Sprintf("is empty; 1 to %d bytes are allowed", maxBytes)
	case len(name) > maxBytes:
		return fmt.Sprintf("has %d bytes; 1 to %d are allowed", len(name), maxBytes)
	case !utf8.ValidString(name):
		return "is not valid UTF-8"
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || c == 0x7f {
			return fmt.Sprintf("contains a control character (U+%04X)", c)
		}
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

func checkSize(payload []byte, maxPayload int64) (reason string) {
	if size := int64(len(payload)); maxPayload > 0 && size > maxPayload {
		return fmt.Sprintf("has %d bytes; at most %d are allowed (--max-payload-bytes)", size, maxPayload)
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
