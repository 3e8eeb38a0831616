package socket

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicehq/sluice/store"
)

const (
	lastEventID  = "Last-Event-ID"
	maxSSETopics = 20
)

// streamRequest is what a client wants of a stream.
type streamRequest struct {
	topics []streamTopic
	named  bool // events come with their name
}

// streamTopic is a topic of a stream, and where the stream has got to in it.
type streamTopic struct {
	name    string
	tag     string // what stands for it in the stream's id
	epoch   string
	offset  int64  // -1 for none
	last    *int64 // with how many of its last events it begins, where there is no offset; nil: none
	unknown bool   // the client came back with an id that says nothing of it
	joined  bool   // what is below counts
	resumed bool   // the client gets all after where it was
}

// parseStreamRequest reads a request: its topics, and where they go on. The header wins,
// since browsers come back with the URL that they began with.
func parseStreamRequest(r *http.Request) (*streamRequest, *rejection) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badStream("the URL's query is malformed", "escape what stands in it")
	}
	names := query["topic"]
	switch {
	case len(names) == 0:
		return nil, badStream("no topic", "name one as topic=orders:eu, or several by repeating it")
	case len(names) > maxSSETopics:
		return nil, badStream(fmt.Sprintf("%d topics", len(names)), fmt.Sprintf("a stream has %d topics at most: open another one", maxSSETopics))
	}
	wish := &streamRequest{named: query.Get("named") == "true"}
	for _, name := range names {
		topic := streamTopic{name: name, tag: streamTag(name), offset: -1}
		switch {
		case !store.ValidTopic(name):
			return nil, badStream("invalid topic "+strconv.QuoteToASCII(clip(name)), "a topic has 1 to 255 bytes without control characters")
		case slices.ContainsFunc(wish.topics, func(t streamTopic) bool { return t.tag == topic.tag }):
			return nil, badStream("topic "+strconv.QuoteToASCII(name)+" is named twice", "name each topic once")
		}
		wish.topics = append(wish.topics, topic)
	}
	if last := query.Get("last"); last != "" {
		n, ok := parseDigits(last)
		if !ok {
			return nil, badStream("invalid last", "how many of a topic's last events to begin with")
		}
		for i := range wish.topics {
			wish.topics[i].last = &n
		}
	}
	text, epoch := r.Header.Get(lastEventID), ""
	if text == "" {
		text, epoch = query.Get("after"), query.Get("epoch")
	}
	if text == "" || text == "null" {
		return wish, nil
	}
	if offset, ok := parseDigits(text); ok { // an offset of all topics: that of a page's state
		for i := range wish.topics {
			wish.topics[i].epoch, wish.topics[i].offset = epoch, offset
		}
		return wish, nil
	}
	id, ok := parseStreamID(text)
	if !ok {
		return nil, badStream("invalid "+afterName(r), "an offset, or the id of the last event as it came")
	}
	id.locate(wish.topics)
	return wish, nil
}

// afterName is where a request says where it goes on.
func afterName(r *http.Request) string {
	if r.Header.Get(lastEventID) != "" {
		return lastEventID
	}
	return "after"
}

// params are what a topic is joined with.
func (t *streamTopic) params() []byte {
	var params struct {
		After *int64 `json:"after"`
		Epoch string `json:"epoch,omitempty"`
		Last  *int64 `json:"last,omitempty"`
	}
	params.Last = t.last
	if t.offset >= 0 {
		params.After, params.Epoch = &t.offset, t.epoch
	}
	text, _ := json.Marshal(params) // always marshals
	return text
}

// streamID is the id of an event, as its client brings it back: a position in a log, of
// the one topic that the stream has, or of each by its tag.
type streamID []streamPosition

type streamPosition struct {
	tag    string // "" for the only one
	epoch  string
	offset int64
}

const (
	tagBytes   = 8  // 48 bits of a digest
	epochBytes = 64 // more than an epoch has
)

// streamTag stands for a topic in ids: so a position is never another topic's, whatever
// list of them it comes back with.
func streamTag(topic string) string {
	digest := sha256.Sum256([]byte(topic))
	return base64.RawURLEncoding.EncodeToString(digest[:])[:tagBytes]
}

// parseStreamID reads an id, as appendStreamID has written it.
func parseStreamID(text string) (id streamID, ok bool) {
	if len(text) > maxSSETopics*(tagBytes+epochBytes+maxOffsetDigits+3) {
		return nil, false
	}
	for part := range strings.SplitSeq(text, ",") {
		var p streamPosition
		tag, position, tagged := strings.Cut(part, "=")
		if tagged {
			p.tag = tag
		} else {
			position = part
		}
		epoch, digits, _ := strings.Cut(position, ":")
		p.epoch = epoch
		p.offset, ok = parseDigits(digits)
		same := func(o streamPosition) bool { return o.tag == p.tag }
		switch {
		case !ok, epoch == "", len(epoch) > epochBytes, !isWord(epoch):
			return nil, false
		case tagged && (len(tag) != tagBytes || !isWord(tag)):
			return nil, false
		case !tagged && len(part) != len(text): // the only one has company
			return nil, false
		case len(id) == maxSSETopics, slices.ContainsFunc(id, same):
			return nil, false
		}
		id = append(id, p)
	}
	return id, true
}

// locate sets where topics go on.
func (id streamID) locate(topics []streamTopic) {
	for i := range topics {
		t := &topics[i]
		t.unknown = true
		for _, p := range id {
			if p.tag == t.tag || p.tag == "" && len(topics) == 1 {
				t.epoch, t.offset, t.unknown = p.epoch, p.offset, false
			}
		}
	}
}

// appendStreamID appends the id of what is being sent: all before it has been.
func appendStreamID(dst []byte, topics []streamTopic) []byte {
	for i := range topics {
		t := &topics[i]
		if len(topics) > 1 {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, t.tag...), '=')
		}
		dst = strconv.AppendInt(append(append(dst, t.epoch...), ':'), t.offset, 10)
	}
	return dst
}

const maxOffsetDigits = 19

// parseDigits reads an offset.
func parseDigits(text string) (int64, bool) {
	if text == "" || len(text) > maxOffsetDigits || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// isWord tells whether a text consists of letters, digits, - and _, which is how tags and
// epochs are written.
func isWord(text string) bool {
	return strings.IndexFunc(text, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}) < 0
}
