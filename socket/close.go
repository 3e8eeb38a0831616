package socket

import (
	"errors"
	"net"
	"time"

	"github.com/gobwas/ws"
)

// closeReason says why a connection ended.
type closeReason string

const (
	closedByClient  closeReason = "client"            // it said goodbye
	closedLost      closeReason = "lost"              // the network, or a client without manners
	closedSilent    closeReason = "heartbeat_timeout" // nothing came
	closedProtocol  closeReason = "protocol_error"
	closedUTF8      closeReason = "invalid_utf8"
	closedTooSlow   closeReason = "too_slow"
	closedTooFast   closeReason = "too_fast" // a long-poll's POST took too long at the inbound rate
	closedTooLarge  closeReason = "message_too_large"
	closedMalformed closeReason = "malformed"
	closedByID      closeReason = "disconnected"
	closedDrain     closeReason = "drain"
	closedExpired   closeReason = "access_ended"
	closedAged      closeReason = "age"
	closedNoPoll    closeReason = "poll_timeout"  // a long-poll was not followed by another
	closedChannel   closeReason = "channel_ended" // of a stream of server-sent events, a topic could not be joined, or is no longer
)

// closeInfo is how a connection is closed: why, for the metrics, and the code and
// text of the close frame. A code of StatusNoStatusRcvd is an empty frame.
type closeInfo struct {
	reason closeReason
	code   ws.StatusCode
	text   string
}

// The ends that the server plans by itself; those in answer to what a client
// sent are made where it is read.
var (
	silent       = closeInfo{closedSilent, ws.StatusGoingAway, "heartbeat timeout"}
	disconnected = closeInfo{closedByID, ws.StatusGoingAway, "disconnected"}
	tooSlow      = closeInfo{closedTooSlow, ws.StatusPolicyViolation, "too slow"}
	malformed    = closeInfo{closedMalformed, ws.StatusInternalServerError, "malformed message"}
	draining     = closeInfo{closedDrain, statusServiceRestart, "service restart"}
	aged         = closeInfo{closedAged, statusServiceRestart, "connection age"}
	expired      = closeInfo{closedExpired, ws.StatusPolicyViolation, "access ended"}
)

// Close codes that came after RFC 6455 (IANA's registry of WebSocket close
// codes). The first tells a client to connect again; between them is 1013, to
// try again later.
const (
	statusServiceRestart ws.StatusCode = 1012
	statusBadGateway     ws.StatusCode = 1014
)

// closeTimeout is how long a client has to end its side, once ours has sent
// the close frame, unless Config.closeTimeout says otherwise.
const closeTimeout = 5 * time.Second

// frameError is an end of the connection that what the client sent calls for.
type frameError struct{ closeInfo }

func (e *frameError) Error() string { return "socket: " + e.text }

var (
	errMalformedMessage = &frameError{malformed}

	errTooLarge    = &frameError{closeInfo{closedTooLarge, ws.StatusMessageTooBig, "message too large"}}
	errInvalidText = &frameError{closeInfo{closedUTF8, ws.StatusInvalidFramePayloadData, "invalid UTF-8"}}
)

func protocolError(text string) error {
	return &frameError{closeInfo{closedProtocol, ws.StatusProtocolError, text}}
}

// closeError is how to answer a close frame: with the same code, if it may be
// one.
func closeError(payload []byte) error {
	if len(payload) == 0 {
		return &frameError{closeInfo{closedByClient, ws.StatusNoStatusRcvd, ""}}
	}
	code, reason := ws.ParseCloseFrameData(payload)
	known := code
	if statusServiceRestart <= code && code <= statusBadGateway {
		known = ws.StatusNormalClosure // the library does not know those
	}
	if err := ws.CheckCloseFrameData(known, reason); err != nil {
		return protocolError(err.Error())
	}
	return &frameError{closeInfo{closedByClient, code, ""}}
}

// farewellFor is how to end a connection after an error in reading.
func closeInfoFor(err error) closeInfo {
	var f *frameError
	var timeout net.Error
	switch {
	case errors.As(err, &f):
		return f.closeInfo
	case errors.As(err, &timeout) && timeout.Timeout():
		return silent
	}
	return closeInfo{reason: closedLost}
}
