package phoenix

import (
	"github.com/sluicehq/sluice/channels/outbound"
)

// A format is a number made of two bits that say what a message looks like, and two that
// say what it travels in.
const (
	Version2  outbound.Format = 1 << iota // protocol version 2; without it, version 1
	Enveloped                             // messages come as {"data"}, events of the log as {"offset","data"}
)

// What a message travels in. Without any of them it is a WebSocket frame.
const (
	Polled     outbound.Format = 1 << 2 // a long-poll response
	Compressed outbound.Format = 2 << 2 // a WebSocket frame too, whose message is compressed (RFC 7692) if it is for all on its topic
	Streamed   outbound.Format = 3 << 2 // a stream of server-sent events, for which neither of the other bits counts: see [Record]

	carrier = 3 << 2 // the bits of it
)

// Resuming is the format of a channel whose client resumes, on a connection with format f.
func Resuming(f outbound.Format) outbound.Format {
	if f == Streamed { // whose messages all have a place for an offset
		return f
	}
	return f | Enveloped
}

// ParseVersion reads the vsn parameter: the lowest bit of a format. Phoenix serves
// 1.0.x and 2.0.x, and takes a client that says nothing for an old one.
func ParseVersion(vsn string) (f outbound.Format, ok bool) {
	switch {
	case vsn == "", vsn == "1.0", len(vsn) > 4 && vsn[:4] == "1.0.":
		return 0, true
	case vsn == "2.0", len(vsn) > 4 && vsn[:4] == "2.0.":
		return Version2, true
	}
	return 0, false
}

// carriesBinary tells whether a format has a form for binary payloads. Version
// 1 has none, and stock clients take all that comes by long-poll for text,
// although they send binary that way.
func carriesBinary(f outbound.Format) bool { return f&Version2 != 0 && f&carrier != Polled }
