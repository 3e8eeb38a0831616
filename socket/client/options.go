package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Option is of a client.
type Option func(*settings)

// settings are what a client was given. They do not change.
type settings struct {
	token   func(context.Context) (string, error) // nil for none
	header  http.Header
	tls     *tls.Config
	notify  func(Notice)
	connect func(context.Context) (net.Conn, *bufio.Reader, error)
}

// Token has the client ask for a token at every attempt to connect, so that one that has
// expired is not tried again. It travels as a WebSocket subprotocol, as Phoenix's
// clients send it, and so stays out of the logs that URLs end up in. An error is tried again
// like one of the network, unless it is made by [Permanent]. The function is called by one
// goroutine at a time, and its context ends with the client.
func Token(f func(context.Context) (string, error)) Option {
	return func(s *settings) { s.token = f }
}

// StaticToken is [Token] for one that does not expire while the client lives.
func StaticToken(token string) Option {
	return Token(func(context.Context) (string, error) { return token, nil })
}

// Header has the handshake carry header fields, such as Origin or Cookie.
func Header(h http.Header) Option { return func(s *settings) { s.header = h } }

// TLS is for servers whose certificate the system does not know, and for certificates of
// clients.
func TLS(config *tls.Config) Option { return func(s *settings) { s.tls = config } }

// Connect replaces how a connection is made, handshake included: in a test by one in
// memory, in a program by one that passes a proxy. The URL and all options of the
// handshake count for nothing then. What came with the handshake is in the reader, which
// goes on reading from the connection; it may be nil.
func Connect(f func(context.Context) (net.Conn, *bufio.Reader, error)) Option {
	return func(s *settings) { s.connect = f }
}

// Notify has the client tell what goes on: for a log. It is called by one goroutine at a
// time, which does nothing else until it returns; it must not call the client.
func Notify(f func(Notice)) Option { return func(s *settings) { s.notify = f } }

// Notice is [Joined], [Retrying] or [Skipped].
type Notice interface{ notice() }

// Joined says that a topic has been joined, for the first time or again.
type Joined struct {
	Topic   string
	After   *int64 // what was asked for; nil for what comes from now on
	Offset  int64  // the log's head as the server had it
	Resumed bool   // whether all after After will come
}

// Retrying says that something failed which is tried again after a pause: the connection, or
// the join of a topic.
type Retrying struct {
	Topic string // "" for the connection
	Err   error
	Pause time.Duration
}

// Skipped says that messages were left out.
type Skipped struct {
	Reason SkipReason
	Topic  string // "" where it cannot be read
	Event  string // likewise
	Offset int64  // in the log; 0 for a broadcast, or where it cannot be read
	Bytes  int64  // of the message
	Err    error  // what is wrong with it, for [Unreadable]
}

// SkipReason is why a message was left out.
type SkipReason string

const (
	// TooLarge is a message of more than [MaxMessageBytes].
	TooLarge SkipReason = "too_large"
	// Unreadable is one that is not of the protocol.
	Unreadable SkipReason = "unreadable"
	// Binary is one in binary, which this client does not read.
	Binary SkipReason = "binary"
	// Repeated is an event that has come before, which no server of ours sends.
	Repeated SkipReason = "repeated"
	// Behind is the first that is dropped because the program is too slow. What is logged
	// comes again.
	Behind SkipReason = "behind"
)

func (Joined) notice()   {}
func (Retrying) notice() {}
func (Skipped) notice()  {}
