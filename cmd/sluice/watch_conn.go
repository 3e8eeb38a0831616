package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const (
	dialTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
	// maxMessage is as much as is read of a message from the server. Larger ones
	// are passed over.
	maxMessage = 16 << 20
	// maxConnectError is as much as is read of an answer that refuses a connection.
	maxConnectError = 4 << 10
	// maxConnectWords is how much of it is shown where it is in no form of ours.
	maxConnectWords = 300
	// frameBacklog lets reading go on while lines are being printed.
	frameBacklog = 64
)

// watchConn is one WebSocket connection of watch, on the client's side. Its reader is a
// goroutine, started by newWatchConn and joined by close; all writing is done by
// the owner.
type watchConn struct {
	conn net.Conn
	// The reader sends and closes, the owner receives. While it is full the
	// server has to wait.
	frames chan watchFrame
	// err is why reading ended; to be read once frames is closed.
	err error
}

// watchFrame is a whole message, the head of one that is too large, or a ping.
type watchFrame struct {
	op   ws.OpCode
	data []byte
	size int64 // of the message: more than data has if it is too large
}

// closedError is how the server closed a connection.
type closedError struct {
	code   ws.StatusCode
	reason string
}

func (e *closedError) Error() string {
	if e.reason == "" {
		return fmt.Sprintf("the server closed the connection (%d)", e.code)
	}
	return fmt.Sprintf("the server closed the connection (%d, %s)", e.code, e.reason)
}

// dialer opens a connection; what came with the handshake is in the reader,
// nil if nothing did.
type dialer func(context.Context) (net.Conn, *bufio.Reader, error)

// dialSocket connects to a socket's WebSocket endpoint. The token travels as
// a subprotocol, so that it stays out of the logs that URLs end up in.
func dialSocket(endpoint, token string) dialer {
	d := ws.Dialer{Timeout: dialTimeout}
	if token != "" {
		d.Protocols = []string{"phoenix", bearerProtocol(token)}
	}
	return func(ctx context.Context) (net.Conn, *bufio.Reader, error) {
		d := d // each attempt has a callback of its own
		var said error
		d.OnStatusError = func(_ int, _ []byte, answer io.Reader) { said = readConnectError(answer) }
		conn, rest, _, err := d.Dial(ctx, endpoint)
		var status ws.StatusError
		switch {
		case errors.As(err, &status):
			return nil, nil, &connectError{int(status), said}
		case errors.Is(err, syscall.ECONNREFUSED), errors.As(err, new(*tls.CertificateVerificationError)), errors.As(err, new(tls.RecordHeaderError)):
			return nil, nil, fmt.Errorf("cannot reach %s: %w; %s", endpoint, err, nextStep(err, "--url"))
		case errors.Is(err, ws.ErrHandshakeBadProtocol): // HTTP/1.0, as Go's servers answer where TLS is spoken
			return nil, nil, fmt.Errorf("cannot reach %s: %w; if TLS is spoken there, begin --url with wss://", endpoint, err)
		case err != nil:
			return nil, nil, fmt.Errorf("cannot reach %s: %w", endpoint, err)
		}
		return conn, rest, nil
	}
}

// connectError is a handshake that the server answered with another status
// than 101.
type connectError struct {
	status int
	said   error // what the server says of it; nil if it says nothing
}

// readConnectError reads why a server refuses, from a whole HTTP response: in our form, or,
// of another server or of what stands between, its first words.
func readConnectError(answer io.Reader) error {
	response, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxConnectError))
	said := new(apiError)
	switch {
	case err != nil && len(body) == 0:
		return nil
	case json.Unmarshal(body, said) == nil && said.Message != "":
		return said
	}
	if words := strings.Join(strings.Fields(string(body)), " "); words != "" {
		return fmt.Errorf("%.*q", maxConnectWords, words)
	}
	return nil
}

func (e *connectError) Error() string {
	if ours := new(apiError); errors.As(e.said, &ours) {
		return fmt.Sprintf("the server refused the connection (%d): %v", e.status, ours)
	}
	hint := "is that a socket of sluice?"
	switch e.status {
	case http.StatusForbidden, http.StatusUnauthorized:
		hint = "it may want a token: give one with --token"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		hint = "it is starting, or has no room"
	}
	text := fmt.Sprintf("the server refused the connection (%d %s): %s", e.status, http.StatusText(e.status), hint)
	if e.said != nil {
		text += fmt.Sprintf("; it says %v", e.said)
	}
	return text
}

// passing tells whether the server may well accept the next attempt.
func (e *connectError) passing() bool {
	return e.status >= 500 || e.status == http.StatusTooManyRequests
}

func newWatchConn(conn net.Conn, rest *bufio.Reader) *watchConn {
	c := &watchConn{conn: conn, frames: make(chan watchFrame, frameBacklog)}
	source := bufio.NewReader(conn)
	if rest != nil {
		source = rest // it goes on reading from conn
	}
	go c.read(source)
	return c
}

// close ends the connection and waits for its reader. The server is told that
// it is meant; whether it listens is of no importance.
func (c *watchConn) close() {
	_ = c.write(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
	c.conn.Close()
	for range c.frames { // until the reader has ended
	}
}

func (c *watchConn) read(source *bufio.Reader) {
	defer close(c.frames)
	reader := wsutil.Reader{
		Source:         source,
		State:          ws.StateClientSide,
		CheckUTF8:      true,
		OnIntermediate: c.control,
	}
	for {
		header, err := reader.NextFrame()
		if err == nil && header.OpCode.IsControl() {
			if err = c.control(header, &reader); err == nil {
				continue
			}
		}
		var data []byte
		var size int64
		if err == nil {
			data, size, err = readMessage(&reader)
		}
		if err != nil {
			c.err = err
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				c.err = errors.New("the server went away")
			}
			return
		}
		c.frames <- watchFrame{header.OpCode, data, size}
	}
}

// control takes in a control frame. Pings are passed on to the owner, who
// does all writing.
func (c *watchConn) control(header ws.Header, body io.Reader) error {
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	switch header.OpCode {
	case ws.OpPing:
		c.frames <- watchFrame{ws.OpPing, data, int64(len(data))}
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(data)
		return &closedError{code, reason}
	}
	return nil
}

func (c *watchConn) send(m phoenixMessage) error { return c.write(ws.NewTextFrame(m.encode())) }

func (c *watchConn) pong(data []byte) error { return c.write(ws.NewPongFrame(data)) }

func (c *watchConn) write(f ws.Frame) error {
	bytes, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // it fails on a closed connection only, and so does the write
	if _, err := c.conn.Write(bytes); err != nil {
		return fmt.Errorf("write to the server: %w", err)
	}
	return nil
}
