package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/store"
)

// readBody reads a request's body, which its reader bounds. The length that the
// client has announced is believed up to a point.
func readBody(body io.Reader, announced int64) ([]byte, error) {
	var text bytes.Buffer
	text.Grow(int(min(max(announced, 0), believed)) + bytes.MinRead)
	_, err := text.ReadFrom(body)
	return text.Bytes(), err
}

const believed = 1 << 20

// parseLines reads JSON lines; empty ones are passed over. The drafts keep text.
func parseLines(text []byte, p draftParser) ([]store.Draft, error) {
	drafts := make([]store.Draft, 0, min(bytes.Count(text, newline), len(text)/leastEvent)+1)
	number := 0
	for line := range bytes.SplitSeq(text, newline) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		var err error
		if drafts, err = p.parse(drafts, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return drafts, nil
}

var newline = []byte("\n")

// leastEvent is how long a line with an event is at least.
const leastEvent = len(`{"topic":"t","event":"e"}`)

// parseOne reads a single event. The drafts keep text.
func parseOne(text []byte, p draftParser) ([]store.Draft, error) {
	drafts, err := p.parse(nil, text)
	if syntax := new(jsontext.SyntacticError); errors.As(err, &syntax) {
		return nil, fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(int(syntax.ByteOffset), len(text))], newline), err)
	}
	return drafts, err
}

// draftParser reads events as the API writes them. Those of a body often have
// the same topic and name, which are then kept once.
type draftParser struct {
	maxPayload int64                      // in bytes
	check      func(payload []byte) error // besides; nil: nothing
	maxCopies  int64                      // what events come to for all their topics but one, in bytes; 0: no bound

	in      bytes.Buffer
	decoder jsontext.Decoder
	topic   string // of the event before
	name    string
	field   []byte // the name of the present one
	single  bool   // the present event has a topic
	listed  bool   // it has topics, which are these
	topics  []string
	copies  int64 // as maxCopies bounds them
}

// parse reads one event, checks it, and appends it to drafts: once for each of its topics.
// With an error there are none.
func (p *draftParser) parse(drafts []store.Draft, text []byte) ([]store.Draft, error) {
	p.topics, p.single, p.listed = p.topics[:0], false, false
	draft, err := p.read(text)
	if err != nil {
		return nil, err
	}
	if p.listed {
		return p.spread(drafts, draft)
	}
	p.topic, p.name = draft.Topic, draft.Name
	if err := p.judge(&draft); err != nil {
		return nil, err
	}
	return append(drafts, draft), nil
}

// judge says what is wrong with an event.
func (p *draftParser) judge(draft *store.Draft) error {
	err := draft.Validate(p.maxPayload)
	if err == nil && p.check != nil {
		err = p.check(draft.Payload)
	}
	if invalid := new(store.InvalidError); errors.As(err, &invalid) {
		return fmt.Errorf("%s %s", invalid.Field, invalid.Reason)
	}
	return err
}

var emptyPayload = []byte("{}")

var errTrailing = errors.New("there is more after the event; send many as application/x-ndjson, one a line")

func (p *draftParser) read(text []byte) (draft store.Draft, err error) {
	p.in = *bytes.NewBuffer(text)
	p.decoder.Reset(&p.in, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) // what a payload may be is for store to say
	begin, err := p.decoder.ReadToken()
	switch {
	case err == io.EOF:
		return draft, errors.New("there is no event")
	case err != nil:
		return draft, err
	case begin.Kind() != '{':
		return draft, fmt.Errorf("an event is an object, not %s", begin.Kind())
	}
	for p.decoder.PeekKind() == '"' {
		if err := p.readField(&draft, text); err != nil {
			return draft, err
		}
	}
	if _, err := p.decoder.ReadToken(); err != nil { // what ends the object
		return draft, err
	}
	if draft.Payload == nil {
		draft.Payload = emptyPayload
	}
	if p.listed && p.single {
		return draft, errBoth
	}
	if p.decoder.PeekKind() != 0 || len(bytes.TrimSpace(text[p.decoder.InputOffset():])) > 0 {
		return draft, errTrailing
	}
	return draft, nil
}

// readField reads a name and its value.
func (p *draftParser) readField(draft *store.Draft, text []byte) error {
	quoted, err := p.decoder.ReadValue()
	if err != nil {
		return err
	}
	if p.field, err = jsontext.AppendUnquote(p.field[:0], quoted); err != nil {
		return err
	}
	value, err := p.decoder.ReadValue()
	if err != nil {
		return err
	}
	switch string(p.field) {
	case "topic":
		p.single = true
		draft.Topic, err = word("topic", value, p.topic)
	case "topics":
		err = p.list(value)
	case "event":
		draft.Name, err = word("event", value, p.name)
	case "key":
		if value.Kind() != 'n' {
			var key string
			key, err = word("key", value, "")
			draft.Key = []byte(key)
		}
	case "payload":
		end := int(p.decoder.InputOffset())
		draft.Payload = text[end-len(value) : end] // the decoder's own is its until the next call
	default:
		return fmt.Errorf("unknown field %q", p.field)
	}
	return err
}

// word is a string's text, which is often the one given.
func word(name string, value jsontext.Value, often string) (string, error) {
	if value.Kind() != '"' {
		return "", fmt.Errorf("%s is not a string", name)
	}
	bare := value[1 : len(value)-1]
	switch {
	case bytes.IndexByte(bare, '\\') >= 0:
		text, err := jsontext.AppendUnquote(nil, value)
		return string(text), err
	case string(bare) == often:
		return often, nil
	}
	return string(bare), nil
}
