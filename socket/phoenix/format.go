package phoenix

import (
	"github.com/sluicehq/sluice/channels/outbound"
)

// A format is a number made of three bits.
const (
	Version2  outbound.Format = 1 << iota // protocol version 2; without it, version 1
	Enveloped                             // messages come as {"data"}, events of the log as {"offset","data"}
	Polled                                // for a long-poll response; without it, a WebSocket frame
)

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
func carriesBinary(f outbound.Format) bool { return f&Version2 != 0 && f&Polled == 0 }
