package phoenix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/sluicehq/sluice/channels/outbound"
)

// Encoder writes all formats of the protocol, as [outbound.Encoder]. The zero
// value is ready.
type Encoder struct {
	// CompressFrom is how many bytes a message has at least that is compressed, in the
	// formats that are.
	CompressFrom int
}

var _ outbound.Encoder = Encoder{}

// Reasons for which a message has no form on the wire.
var (
	ErrInvalidUTF8 = errors.New("socket: invalid UTF-8")
	ErrTooLong     = errors.New("socket: too long for a binary frame")
	ErrNoBinary    = errors.New("socket: client cannot receive binary payloads")
	ErrBinaryEvent = errors.New("socket: an event of the log cannot be binary, which has no place for its offset")
)

// The head of a frame stands on the stack while its size is computed. Longer
// ones are allocated.
const headSize = 640

// AppendMessage appends a message for all on its topic: in the protocol's
// words, a broadcast.
func (e Encoder) AppendMessage(dst []byte, f outbound.Format, m *outbound.Message) ([]byte, error) {
	var stack [headSize]byte
	if m.Binary {
		if m.Offset > 0 {
			return dst, ErrBinaryEvent
		}
		if !carriesBinary(f) {
			return dst, nil
		}
		head, err := appendFields(append(stack[:0], kindBroadcast), m.Topic, m.Event)
		if err != nil {
			return dst, err
		}
		return e.appendShared(dst, f, opBinary, head, m.Payload, ""), nil
	}
	if !validUTF8(m.Topic) || !validUTF8(m.Event) || !utf8.Valid(m.Payload) {
		return dst, ErrInvalidUTF8
	}
	if f == Streamed {
		return appendMessageRecord(dst, m)
	}
	head := appendHead(stack[:0], f, outbound.Address{Topic: m.Topic}, m.Event)
	head, tail := appendEnvelope(head, f, m.Event, m.Offset)
	return e.appendShared(dst, f, opText, head, m.Payload, tail), nil
}

// appendEnvelope begins the payload of a message and returns what ends the
// message. To a client that resumes, all but the protocol's own messages comes
// as {"data": …}, with an offset before it if it is an event of the log: so
// nothing that others send can be taken for a position.
func appendEnvelope(dst []byte, f outbound.Format, event string, offset int64) (_ []byte, tail string) {
	switch {
	case f&Enveloped == 0 || offset == 0 && bare(event): // an old log may have events by these names
		return dst, closing(f)
	case offset > 0:
		dst = append(strconv.AppendInt(append(dst, `{"offset":`...), offset, 10), ',')
	default:
		dst = append(dst, '{')
	}
	return append(dst, `"data":`...), "}" + closing(f)
}

// bare tells whether an event is one of the protocol's own, which stock clients
// read themselves, or ours, which is nothing but a position.
func bare(event string) bool {
	return strings.HasPrefix(event, "phx_") || event == "presence_state" || event == "presence_diff" || event == outbound.EventPosition
}

// AppendPush appends a message for one channel of one client.
func (Encoder) AppendPush(dst []byte, f outbound.Format, to outbound.Address, event string, p outbound.Payload) ([]byte, error) {
	var stack [headSize]byte
	switch {
	case p.Binary && !carriesBinary(f):
		return dst, ErrNoBinary
	case p.Binary:
		head, err := appendFields(append(stack[:0], kindPush), bareRef(to.JoinRef), to.Topic, event)
		if err != nil {
			return dst, err
		}
		return appendFrame(dst, f, opBinary, head, p.Data, ""), nil
	case !validUTF8(event) || !utf8.Valid(p.Data):
		return dst, ErrInvalidUTF8
	case f == Streamed:
		return appendPushRecord(dst, to, event, p)
	}
	head, tail := appendEnvelope(appendHead(stack[:0], f, to, event), f, event, 0)
	return appendFrame(dst, f, opText, head, p.Data, tail), nil
}

// AppendReply appends the answer to a request.
func (Encoder) AppendReply(dst []byte, f outbound.Format, to outbound.Address, status outbound.Status, response outbound.Payload) ([]byte, error) {
	var stack [headSize]byte
	switch {
	case response.Binary && !carriesBinary(f):
		return dst, ErrNoBinary
	case response.Binary:
		head, err := appendFields(append(stack[:0], kindReply),
			bareRef(to.JoinRef), bareRef(to.Ref), to.Topic, string(status))
		if err != nil {
			return dst, err
		}
		return appendFrame(dst, f, opBinary, head, response.Data, ""), nil
	case !utf8.Valid(response.Data):
		return dst, ErrInvalidUTF8
	case f == Streamed:
		return appendRecord(dst, Record{Kind: ReplyRecord, Topic: []byte(to.Topic), Event: []byte(status), Data: response.Data}), nil
	}
	head := appendHead(stack[:0], f, to, "phx_reply")
	head = append(append(head, `{"status":"`...), status...)
	head = append(head, `","response":`...)
	return appendFrame(dst, f, opText, head, response.Data, "}"+closing(f)), nil
}

// appendHead appends a text message up to its payload.
func appendHead(dst []byte, f outbound.Format, to outbound.Address, event string) []byte {
	if f&Version2 == 0 {
		dst = AppendQuoted(append(dst, `{"topic":`...), to.Topic)
		dst = AppendQuoted(append(dst, `,"event":`...), event)
		dst = appendRef(append(dst, `,"ref":`...), to.Ref)
		return append(dst, `,"payload":`...)
	}
	dst = appendRef(append(dst, '['), to.JoinRef)
	dst = appendRef(append(dst, ','), to.Ref)
	dst = AppendQuoted(append(dst, ','), to.Topic)
	dst = AppendQuoted(append(dst, ','), event)
	return append(dst, ',')
}

// closing ends what appendHead began.
func closing(f outbound.Format) string {
	if f&Version2 == 0 {
		return "}"
	}
	return "]"
}

func appendRef(dst []byte, r outbound.Ref) []byte {
	if r == "" {
		return append(dst, "null"...)
	}
	return append(dst, r...)
}

// appendFields appends the fields of a binary message: all lengths, then all
// fields.
func appendFields(dst []byte, fields ...string) ([]byte, error) {
	for _, s := range fields {
		if len(s) > maxFieldBytes {
			return nil, fmt.Errorf("%w: %d bytes", ErrTooLong, len(s))
		}
		dst = append(dst, byte(len(s)))
	}
	for _, s := range fields {
		dst = append(dst, s...)
	}
	return dst, nil
}

// Opcodes of frames that end their message (RFC 6455, 5.2).
const (
	opText   = 0x81
	opBinary = 0x82
)

// appendFrame appends a message that consists of three parts, as the transport
// of f wants it.
func appendFrame(dst []byte, f outbound.Format, op byte, head, payload []byte, tail string) []byte {
	if f&carrier == Polled {
		return appendPolled(dst, head, payload, tail)
	}
	dst = AppendFrameHeader(dst, op, len(head)+len(payload)+len(tail))
	return append(append(append(dst, head...), payload...), tail...)
}

// AppendFrameHeader appends the header of an unmasked WebSocket frame (RFC 6455,
// 5.2).
func AppendFrameHeader(dst []byte, op byte, size int) []byte {
	switch {
	case size < 126:
		return append(dst, op, byte(size))
	case size <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, op, 126), uint16(size))
	default:
		return binary.BigEndian.AppendUint64(append(dst, op, 127), uint64(size))
	}
}

// appendPolled appends an element of the "messages" of a long-poll response, a
// JSON string, and a comma.
func appendPolled(dst, head, payload []byte, tail string) []byte {
	dst = appendEscaped(append(dst, '"'), head)
	dst = appendEscaped(appendEscaped(dst, payload), tail)
	return append(dst, '"', ',')
}

func validUTF8(s string) bool { return utf8.ValidString(s) }
