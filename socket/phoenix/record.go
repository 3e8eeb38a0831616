package phoenix

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Record is what a message is encoded as in the format [Streamed]. Of a server-sent event
// all can be shared but its id, which says where its stream is: that line each stream
// writes itself, and so it takes the records apart again.
type Record struct {
	Kind   RecordKind
	Offset int64  // in the log; 0 for what is not in it
	Topic  []byte // of the message
	Event  []byte // of a message; the status, of a reply
	Data   []byte // of a message, what stands after "data:"; of a reply, its response; JSON without line ends
}

// RecordKind says what a record is.
type RecordKind byte

// The kinds of records.
const (
	MessageRecord  RecordKind = iota + 1 // for the client, of an application
	ControlRecord                        // of the protocol: the end of a channel, say
	ReplyRecord                          // the answer to a join
	CommentRecord                        // nothing but a text
	PositionRecord                       // its topic has got to its offset, which no event of it has
)

// ErrNotJSON is returned for a payload that is none.
var ErrNotJSON = errors.New("socket: payload is not JSON")

// errRecord is returned for bytes that are no record: a programmer's error.
var errRecord = errors.New("socket: malformed record")

// AppendComment appends a record that is a comment of the stream's own.
func AppendComment(dst []byte, text string) []byte {
	return appendRecord(dst, Record{Kind: CommentRecord, Data: []byte(text)})
}

// appendMessageRecord appends a message for all on its topic: its data is the line that
// sluice watch prints.
func appendMessageRecord(dst []byte, m *outbound.Message) ([]byte, error) {
	data, err := appendEventData(nil, m.Topic, m.Event, m.Offset, m.Payload)
	if err != nil {
		return dst, err
	}
	return appendRecord(dst, Record{Kind: MessageRecord, Offset: m.Offset, Topic: []byte(m.Topic), Event: []byte(m.Event), Data: data}), nil
}

// appendPushRecord appends a message for one channel of one client.
func appendPushRecord(dst []byte, to outbound.Address, event string, p outbound.Payload) ([]byte, error) {
	data, err := appendEventData(nil, to.Topic, event, 0, p.Data)
	if err != nil {
		return dst, err
	}
	kind := MessageRecord
	if event == outbound.EventPosition {
		var at struct {
			Offset int64 `json:"offset"`
		}
		if err := json.Unmarshal(p.Data, &at); err != nil {
			return dst, fmt.Errorf("%w: %w", ErrNotJSON, err)
		}
		return appendRecord(dst, Record{Kind: PositionRecord, Offset: at.Offset, Topic: []byte(to.Topic)}), nil
	}
	if len(event) > 4 && event[:4] == "phx_" {
		kind = ControlRecord
	}
	return appendRecord(dst, Record{Kind: kind, Topic: []byte(to.Topic), Event: []byte(event), Data: data}), nil
}

// appendEventData appends {"topic","event","offset","payload"}, without an offset where
// it is 0. The payload goes out compact: it may come with line ends, which would end the
// line that it is in.
func appendEventData(dst []byte, topic, event string, offset int64, payload []byte) ([]byte, error) {
	dst = AppendQuoted(append(dst, `{"topic":`...), topic)
	dst = AppendQuoted(append(dst, `,"event":`...), event)
	if offset > 0 {
		dst = strconv.AppendInt(append(dst, `,"offset":`...), offset, 10)
	}
	compact := bytes.NewBuffer(append(dst, `,"payload":`...))
	compact.Grow(len(payload) + 1)
	if err := json.Compact(compact, payload); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotJSON, err)
	}
	return append(compact.Bytes(), '}'), nil
}

func appendRecord(dst []byte, r Record) []byte {
	dst = binary.AppendUvarint(append(dst, byte(r.Kind)), uint64(r.Offset))
	for _, field := range [...][]byte{r.Topic, r.Event, r.Data} {
		dst = append(binary.AppendUvarint(dst, uint64(len(field))), field...)
	}
	return dst
}

// NextRecord takes the first record off data, which its fields refer to.
func NextRecord(data []byte) (r Record, rest []byte, err error) {
	if len(data) == 0 {
		return r, nil, errRecord
	}
	r.Kind = RecordKind(data[0])
	offset, n := binary.Uvarint(data[1:])
	if n <= 0 {
		return r, nil, errRecord
	}
	r.Offset, rest = int64(offset), data[1+n:]
	for _, field := range [...]*[]byte{&r.Topic, &r.Event, &r.Data} {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return r, nil, errRecord
		}
		rest = rest[n:]
		*field, rest = rest[:size:size], rest[size:]
	}
	return r, rest, nil
}
