package outbound

import (
	"fmt"
	"iter"
	"math/bits"
)

// Format is a wire format: all that decides which bytes a message becomes.
// Package socket gives the numbers their meaning.
type Format uint8

// MaxFormats bounds Format: formats are numbered from 0 to MaxFormats-1.
const MaxFormats = 16

// Raw is no wire format: the payloads as they are, for channels that look at
// them before they are sent. An Encoder is never asked for it.
const Raw Format = MaxFormats - 1

// FormatSet is a set of formats.
type FormatSet uint16

// Formats returns the set of the given formats.
func Formats(formats ...Format) FormatSet {
	var s FormatSet
	for _, f := range formats {
		s |= 1 << f
	}
	return s
}

// All yields the set's formats in ascending order.
func (s FormatSet) All() iter.Seq[Format] {
	return func(yield func(Format) bool) {
		for rest := s; rest != 0; rest &= rest - 1 {
			if !yield(Format(bits.TrailingZeros16(uint16(rest)))) {
				return
			}
		}
	}
}

// Encoder turns messages into complete frames of a transport: what it appends
// goes to the kernel as it is. Its methods may be called concurrently. With an
// error, dst comes back as it was.
type Encoder interface {
	// AppendMessage appends a message for everyone on its topic. A format that
	// has no form for the message (binary data in a text-only protocol) appends
	// nothing.
	AppendMessage(dst []byte, f Format, m *Message) ([]byte, error)

	// AppendPush appends a message for one client. Where the address has a Ref,
	// it is sent too.
	AppendPush(dst []byte, f Format, to Address, event string, p Payload) ([]byte, error)

	// AppendReply appends the answer to a client's request.
	AppendReply(dst []byte, f Format, to Address, status Status, response Payload) ([]byte, error)
}

// PanicError is a panic of a handler, which ends its channel, or of an [Encoder], which
// leaves its message out.
type PanicError struct {
	Value any
	Stack []byte
}

func (p *PanicError) Error() string { return fmt.Sprintf("channels: panic: %v", p.Value) }
