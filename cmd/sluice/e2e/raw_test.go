package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A raw is a connection whose every byte is the test's own, so that it can
// misbehave. It knows of RFC 6455 what it takes to write and read frames.
type raw struct {
	conn net.Conn
	in   *bufio.Reader
}

// First bytes of frames (RFC 6455, section 5.2): the opcode, and the bit that
// says that this is the message's last frame.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xa

	fin = 0x80
)

// openRaw connects in a version of the protocol and shakes hands.
func openRaw(t testing.TB, address, version string) *raw {
	t.Helper()
	c := dialRaw(t, address)
	response := c.upgrade(t, "/socket/websocket?vsn="+version, nil)
	if response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the handshake is answered %s", response.Status)
	}
	return c
}

func dialRaw(t testing.TB, address string) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &raw{conn: conn, in: bufio.NewReader(conn)}
}

// upgrade asks for a WebSocket, with headers changed or, where they are empty,
// left out.
func (c *raw) upgrade(t testing.TB, path string, headers map[string]string) *http.Response {
	t.Helper()
	c.write(t, upgradeRequest(c.conn.RemoteAddr().String(), path, headers))
	response, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatalf("read the handshake's answer: %v", err)
	}
	return response
}

// upgradeRequest is a client's side of the handshake (RFC 6455, section 4.1).
func upgradeRequest(host, path string, headers map[string]string) []byte {
	all := map[string]string{
		"Host":                  host,
		"Connection":            "Upgrade",
		"Upgrade":               "websocket",
		"Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key":     "c2x1aWNlIGUyZSB0ZXN0cw==",
	}
	method := http.MethodGet
	for name, value := range headers {
		if name == ":method" {
			method = value
			continue
		}
		all[name] = value
	}
	request := fmt.Appendf(nil, "%s %s HTTP/1.1\r\n", method, path)
	for name, value := range all {
		if value != "" {
			request = fmt.Appendf(request, "%s: %s\r\n", name, value)
		}
	}
	return append(request, "\r\n"...)
}

// mask is the key of every frame; that it is always the same harms nobody here.
var mask = [4]byte{0x9d, 0x3e, 0x00, 0xff}

// frame is a client's frame, masked as it must be.
func frame(first byte, payload string) []byte {
	body := []byte(payload)
	for i := range body {
		body[i] ^= mask[i%len(mask)]
	}
	return append(announced(first, uint64(len(payload))), body...)
}

// announced is a masked frame's header alone.
func announced(first byte, length uint64) []byte {
	const masked = 0x80
	var header []byte
	switch {
	case length < 126:
		header = []byte{first, masked | byte(length)}
	case length <= 0xffff:
		header = binary.BigEndian.AppendUint16([]byte{first, masked | 126}, uint16(length))
	default:
		header = binary.BigEndian.AppendUint64([]byte{first, masked | 127}, length)
	}
	return append(header, mask[:]...)
}

// closing is a close frame's payload.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// write writes bytes as they are.
func (c *raw) write(t testing.TB, all ...[]byte) {
	t.Helper()
	if _, err := c.conn.Write(bytes.Join(all, nil)); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// text sends a text message.
func (c *raw) text(t testing.TB, text string) {
	t.Helper()
	c.write(t, frame(fin|opText, text))
}

// read waits for the next frame. The server's are whole messages, unmasked.
func (c *raw) read() (op byte, payload []byte, err error) {
	var header [2]byte
	if _, err := io.ReadFull(c.in, header[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(header[1])
	switch {
	case header[0]&0xf0 != fin:
		return 0, nil, fmt.Errorf("a frame that begins with %#x", header[0])
	case length > 127:
		return 0, nil, errors.New("a masked frame")
	case length > 125:
		size := 2
		if length == 127 {
			size = 8
		}
		var long [8]byte
		if _, err := io.ReadFull(c.in, long[8-size:]); err != nil {
			return 0, nil, err
		}
		length = binary.BigEndian.Uint64(long[:])
	}
	if length > 1<<20 {
		return 0, nil, fmt.Errorf("a frame of %d bytes", length)
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.in, payload)
	return header[0] &^ fin, payload, err
}

// expect waits for a frame with exactly this payload.
func (c *raw) expect(t testing.TB, op byte, payload string) {
	t.Helper()
	gotOp, got, err := c.read()
	if err != nil || gotOp != op || string(got) != payload {
		t.Fatalf("got a frame %#x %q (%v), want %#x %q", gotOp, got, err, op, payload)
	}
}

// expectJSON waits for a text message that says the same, however it is spaced.
func (c *raw) expectJSON(t testing.TB, want string) {
	t.Helper()
	op, got, err := c.read()
	if err != nil || op != opText || plain(t, string(got)) != plain(t, want) {
		t.Fatalf("got a frame %#x %s (%v), want %s", op, got, err, want)
	}
}

// expectClose waits for a close frame with a code, and for the connection's end.
func (c *raw) expectClose(t testing.TB, code uint16) {
	t.Helper()
	op, payload, err := c.read()
	if err != nil || op != opClose || !strings.HasPrefix(string(payload), closing(code, "")) {
		t.Fatalf("got a frame %#x %q (%v), want a close with %d", op, payload, err, code)
	}
	// If it was an answer to ours, nobody may be there any more to read another.
	_, _ = c.conn.Write(frame(fin|opClose, closing(code, "")))
	c.expectEnd(t)
}

// expectEnd waits for the connection's end. Whether it is a clean one is the
// kernel's business: it depends on what was on its way.
func (c *raw) expectEnd(t testing.TB) {
	t.Helper()
	op, payload, err := c.read()
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the connection has not ended: %#x %q (%v)", op, payload, err)
	}
}

// alive makes sure that the server still listens, and has answered everything
// before.
func (c *raw) alive(t testing.TB) {
	t.Helper()
	c.text(t, `[null,"alive","phoenix","heartbeat",{}]`)
	c.expectJSON(t, `[null,"alive","phoenix","phx_reply",{"status":"ok","response":{}}]`)
}

// plain is JSON in one form: without spaces, with sorted keys.
func plain(t testing.TB, text string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("no JSON: %s: %v", text, err)
	}
	form, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(form)
}
