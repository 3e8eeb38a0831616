package broadcast

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/store"
)

// What one node sends to others is messages of one topic, in order. Numbers are unsigned
// varints (encoding/binary), texts have their length before them:
//
//	"SB" version sequence topic count { flags event [key] payload } checksum
//
// The sequence counts what the sender has published to the subject, from 1. Flags say
// whether there is a key, and whether the payload is binary. The checksum is the lower
// half of the xxhash64 of all that stands before it, little-endian.
const (
	wireVersion = 1
	wireMagic   = "SB"
	checksumLen = 4

	flagKey    = 1 << 0
	flagBinary = 1 << 1

	headLen = len(wireMagic) + 1
)

// overhead is more than a message takes beside its payload, with all names at their
// longest.
const overhead = 2 << 10

// MaxPayload is the largest payload that other nodes can be sent, in bytes.
const MaxPayload = cluster.MaxData - overhead

var (
	errMalformed = errors.New("does not parse")
	errVersion   = errors.New("is of another version")
)

// appendHead begins a message. The count of what follows is part of it: what is written
// is what takes part, never less.
func appendHead(dst []byte, sequence uint64, topic string, count int) []byte {
	dst = append(append(dst, wireMagic...), wireVersion)
	dst = binary.AppendUvarint(dst, sequence)
	dst = appendText(dst, topic)
	return binary.AppendUvarint(dst, uint64(count))
}

func appendMessage(dst []byte, m *channels.Message) []byte {
	var flags byte
	if m.Key != nil {
		flags |= flagKey
	}
	if m.Binary {
		flags |= flagBinary
	}
	dst = appendText(append(dst, flags), m.Event)
	if m.Key != nil {
		dst = appendText(dst, m.Key)
	}
	return appendText(dst, m.Payload)
}

// appendChecksum ends a message that begins where dst does.
func appendChecksum(dst []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, uint32(xxhash.Sum64(dst)))
}

func appendText[T ~string | ~[]byte](dst []byte, text T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// sizeOf is at least what appendMessage appends.
func sizeOf(m *channels.Message) int {
	return 1 + 3*binary.MaxVarintLen32 + len(m.Event) + len(m.Key) + len(m.Payload)
}

// packet is a message of the bus, read.
type packet struct {
	sequence uint64
	topic    string
	messages []channels.Message // of the topic
}

// decode reads what another node has sent. What it returns points into data. The error
// is errVersion, or wraps errMalformed.
func decode(data []byte) (p packet, err error) {
	switch {
	case len(data) < headLen+checksumLen || string(data[:len(wireMagic)]) != wireMagic:
		return packet{}, errMalformed
	case data[len(wireMagic)] != wireVersion:
		return packet{}, errVersion
	}
	body := data[:len(data)-checksumLen]
	if binary.LittleEndian.Uint32(data[len(body):]) != uint32(xxhash.Sum64(body)) {
		return packet{}, fmt.Errorf("%w: the checksum is another", errMalformed)
	}
	r := reader{rest: body[headLen:]}
	p.sequence, p.topic = r.number(), r.name()
	count := r.number()
	if r.failed || p.sequence == 0 || count == 0 || count > uint64(len(r.rest)) || !store.ValidTopic(p.topic) {
		return packet{}, errMalformed
	}
	p.messages = make([]channels.Message, 0, min(count, maxPrepared))
	for range count {
		m := r.message(p.topic)
		if r.failed {
			return packet{}, errMalformed
		}
		if err := check(&m); err != nil {
			return packet{}, fmt.Errorf("%w: %w", errMalformed, err)
		}
		p.messages = append(p.messages, m)
	}
	if len(r.rest) > 0 {
		return packet{}, errMalformed
	}
	return p, nil
}

// maxPrepared bounds what is made room for before it has been read.
const maxPrepared = 1024

// check returns an error for what no node could have broadcast.
func check(m *channels.Message) error {
	if len(m.Key) > store.MaxKeyBytes {
		return errors.New("the key is too long")
	}
	if err := store.CheckEvent(m.Event); err != nil || m.Binary {
		return err
	}
	return store.CheckPayload(m.Payload)
}

var emptyObject = []byte("{}")

// reader reads from the front of a message, and remembers whether anything was missing.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) text() []byte {
	n := r.number()
	if r.failed || n > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	text := r.rest[:n:n]
	r.rest = r.rest[n:]
	return text
}

// name is a text that shares the memory of what is read.
func (r *reader) name() string {
	text := r.text()
	return unsafe.String(unsafe.SliceData(text), len(text))
}

func (r *reader) message(topic string) channels.Message {
	m := channels.Message{Topic: topic}
	if len(r.rest) == 0 || r.rest[0]&^(flagKey|flagBinary) != 0 {
		r.failed = true
		return m
	}
	flags := r.rest[0]
	r.rest = r.rest[1:]
	m.Event = r.name()
	if flags&flagKey != 0 {
		m.Key = r.text()
	}
	m.Payload = r.text()
	if m.Binary = flags&flagBinary != 0; !m.Binary && len(m.Payload) == 0 {
		m.Payload = emptyObject // as of a draft
	}
	return m
}
