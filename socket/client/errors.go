package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/gobwas/ws"
)

var (
	// ErrClosed is the error of all that is asked of a client after [Client.Close].
	ErrClosed = errors.New("client: closed")
	// ErrJoined is the error of joining a topic twice with one client.
	ErrJoined = errors.New("client: the topic is joined already: leave it first, or use another client")
	// ErrLeft is the error of a push on a channel that has been left.
	ErrLeft = errors.New("client: the channel has been left")
	// ErrUnanswered is the error of a push whose answer was lost with the connection:
	// whether the server has carried it out is not known.
	ErrUnanswered = errors.New("client: the connection was lost before the answer: whether the push arrived is not known")
	// ErrChannelClosed says that the server has ended a channel for good.
	ErrChannelClosed = errors.New("the server closed the channel")

	errNoJoin      = errors.New("the server did not answer the join")
	errNoObject    = errors.New("null")
	errNoHeartbeat = errors.New("the server did not answer a heartbeat")
	errWentAway    = errors.New("the server went away")
)

// URLError says that something is no URL of a socket.
type URLError struct{ URL string }

func (e *URLError) Error() string {
	return fmt.Sprintf("%q is no URL of a socket: give one such as wss://example.org/socket", e.URL)
}

// RefusedError is a handshake that was answered with another status than 101.
type RefusedError struct {
	Status int
	// Message and Hint are what a server of ours says of it, "" for another's.
	Message, Hint string
	// Body is the beginning of another's answer, with its blanks made one each.
	Body string
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("the server refused the connection (%d %s)", e.Status, http.StatusText(e.Status))
	switch {
	case e.Message != "" && e.Hint != "":
		return fmt.Sprintf("%s: %s: %s", text, e.Message, e.Hint)
	case e.Message != "":
		return fmt.Sprintf("%s: %s", text, e.Message)
	case e.Status == http.StatusForbidden || e.Status == http.StatusUnauthorized:
		text += ": it may want a token, or the origin may not be allowed"
	case e.Temporary():
		text += ": it is starting, or has no room"
	default:
		text += ": see whether the URL is that of a socket"
	}
	if e.Body != "" {
		text += fmt.Sprintf("; it says %q", e.Body)
	}
	return text
}

// Temporary tells whether the server may well accept the next attempt.
func (e *RefusedError) Temporary() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// CloseError is how the server closed a connection (RFC 6455, section 7.4).
type CloseError struct {
	Code   int
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the server closed the connection (%d)", e.Code)
	}
	return fmt.Sprintf("the server closed the connection (%d, %s)", e.Code, e.Reason)
}

// ChannelError says that a channel failed on the server. It is joined again.
type ChannelError struct{ Topic, Reason string }

func (e *ChannelError) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = "no reason given"
	}
	return fmt.Sprintf("the channel ended on the server (%s)", reason)
}

// JoinError is the server's refusal of a join.
type JoinError struct {
	Topic, Reason string
	Response      json.RawMessage // whole
}

func (e *JoinError) Error() string {
	return fmt.Sprintf("joining %q was refused: %s", e.Topic, e.Reason)
}

// Temporary tells whether the server may well accept the next attempt: then the
// client makes it by itself.
func (e *JoinError) Temporary() bool { return e.Reason == "unavailable" }

// PushError is the server's answer to a push that it did not accept.
type PushError struct {
	Event, Reason string
	Response      json.RawMessage // whole
}

func (e *PushError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("pushing %q was refused: %s", e.Event, e.Response)
	}
	return fmt.Sprintf("pushing %q was refused: %s", e.Event, e.Reason)
}

// ResetError says that what came after a position can no longer be had, or that its
// epoch is not the log's any more. What follows comes after To: load the state again. If
// that was read before the reset, it may lack what was missed.
type ResetError struct {
	Topic    string
	From, To Position
}

func (e *ResetError) Error() string {
	return fmt.Sprintf("%s cannot be resumed after offset %d: events are missing up to %d; load the state again", e.Topic, e.From.After, e.To.After)
}

// Permanent marks an error of a function given to [Token] or [Connect]: it ends the
// client rather than being tried again.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// busy tells whether who refused a connection may accept the next.
func busy(err error) bool {
	var refused *RefusedError
	return errors.As(err, &refused) && refused.Temporary()
}

// final tells whether connecting again will not help.
func final(err error) bool {
	var refused *RefusedError
	var closed *CloseError
	switch {
	case errors.As(err, new(*permanentError)):
		return true
	case errors.As(err, &refused):
		return !refused.Temporary()
	case errors.As(err, &closed):
		return closed.Code == int(ws.StatusNormalClosure) // as a server says to who shall not come back
	}
	return false
}
