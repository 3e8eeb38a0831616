package admin

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/sluicehq/sluice/store"
)

// maxTopics is to how many topics one event may go.
const maxTopics = 1000

var errBoth = errors.New(`there are both topic and topics: an event has one of them`)

// errCopies says that events come to more than is allowed: a short body may stand for a
// very long one.
var errCopies = errors.New("written out for each of its topics, the body is larger")

// list reads the topics of an event. The text of each is its own.
func (p *draftParser) list(value jsontext.Value) error {
	p.topics, p.listed = p.topics[:0], true
	if value.Kind() != '[' {
		return errors.New("topics is not a list of strings")
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(value), jsontext.AllowInvalidUTF8(true))
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() != ']' {
		if len(p.topics) == maxTopics {
			return fmt.Errorf("topics has more than %d of them; send them in parts", maxTopics)
		}
		each, err := decoder.ReadValue()
		if err != nil {
			return err
		}
		if each.Kind() != '"' {
			return fmt.Errorf("topics[%d] is not a string", len(p.topics))
		}
		topic, err := word("", each, "")
		if err != nil {
			return err
		}
		p.topics = append(p.topics, topic)
	}
	if len(p.topics) == 0 {
		return fmt.Errorf("topics is empty; 1 to %d are allowed", maxTopics)
	}
	return nil
}

// spread appends an event for each of its topics: once for one that is named twice.
func (p *draftParser) spread(drafts []store.Draft, draft store.Draft) ([]store.Draft, error) {
	draft.Topic = p.topics[0]
	if store.CheckTopic(draft.Topic) == nil {
		if err := p.judge(&draft); err != nil { // what the others share is looked at once
			return nil, err
		}
	}
	p.name = draft.Name
	seen := make(map[string]struct{}, len(p.topics))
	for i, topic := range p.topics {
		if invalid := new(store.InvalidError); errors.As(store.CheckTopic(topic), &invalid) {
			return nil, fmt.Errorf("topics[%d] %s", i, invalid.Reason)
		}
		if _, ok := seen[topic]; ok {
			continue
		}
		if seen[topic] = struct{}{}; i > 0 {
			p.copies += int64(leastEvent + len(topic) + len(draft.Name) + len(draft.Key) + len(draft.Payload))
			if p.maxCopies > 0 && p.copies > p.maxCopies {
				return nil, errCopies
			}
		}
		draft.Topic = topic
		drafts = append(drafts, draft)
	}
	return drafts, nil
}
