package sluicetest

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Client is a connection, and its user's side of the conversation.
type Client struct {
	t    *testing.T
	conn net.Conn
	in   io.Reader
}

// Connect connects to a mount, with parameters such as "token=abc", or "". As clients do, it
// tries again where it is told to: a node that a busy machine keeps from running may know for a
// while too little to let anybody in.
func (n *Node) Connect(mount, params string) *Client {
	n.t.Helper()
	conn, in, status := n.dial(mount, params)
	for late := time.Now().Add(Patience); conn == nil && status == http.StatusServiceUnavailable && time.Now().Before(late); {
		time.Sleep(again)
		conn, in, status = n.dial(mount, params)
	}
	if conn == nil {
		n.t.Fatalf("connect to %s: refused with %d", mount, status)
	}
	n.t.Cleanup(func() { conn.Close() }) // again, if the service has closed it: then it fails, and that is well
	c := &Client{n.t, conn, conn}
	if in != nil { // with bytes in it that came after the handshake
		c.in = in
	}
	return c
}

// Refused connects to a mount that should refuse, and returns the status.
func (n *Node) Refused(mount, params string) (status int) {
	n.t.Helper()
	conn, _, status := n.dial(mount, params)
	if conn != nil {
		conn.Close()
		n.t.Fatalf("connect to %s with %q: not refused", mount, params)
	}
	return status
}

// dial returns a connection, or the status that was answered instead.
func (n *Node) dial(mount, params string) (net.Conn, *bufio.Reader, int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), Patience)
	defer cancel()
	conn, in, _, err := ws.Dial(ctx, "ws://"+n.Public+mount+"/websocket?vsn=2.0.0&"+params)
	var refused ws.StatusError
	switch {
	case errors.As(err, &refused):
		return nil, nil, int(refused)
	case err != nil:
		n.t.Fatalf("connect to %s: %v", mount, err)
	}
	return conn, in, 0
}

// Send sends a frame.
func (c *Client) Send(frame string) {
	c.t.Helper()
	if err := wsutil.WriteClientText(c.conn, []byte(frame)); err != nil {
		c.t.Fatalf("send %s: %v", frame, err)
	}
}

// Expect waits for the next frame, which has to be this one.
func (c *Client) Expect(frame string) {
	c.t.Helper()
	if got := c.Next(); got != frame {
		c.t.Fatalf("expected %s\n     got %s", frame, got)
	}
}

// Next waits for the next frame.
func (c *Client) Next() string {
	c.t.Helper()
	text, err := c.read()
	if err != nil {
		c.t.Fatalf("waiting for a frame: %v", err)
	}
	return string(text)
}

// NextUnlessClosed is Next, or the code with which the service has closed the connection.
func (c *Client) NextUnlessClosed() (frame string, code int) {
	c.t.Helper()
	text, err := c.read()
	var closed wsutil.ClosedError
	if err != nil && !errors.As(err, &closed) {
		c.t.Fatalf("waiting for a frame: %v", err)
	}
	return string(text), int(closed.Code)
}

// Beat sends a heartbeat and waits for the answer, which comes next: then the
// service has the connection, and nothing else was said.
func (c *Client) Beat() {
	c.t.Helper()
	c.Send(`[null,"beat","phoenix","heartbeat",{}]`)
	c.Expect(`[null,"beat","phoenix","phx_reply",{"status":"ok","response":{}}]`)
}

// Close goes without a word, as a network does.
func (c *Client) Close() {
	c.t.Helper()
	if err := c.conn.Close(); err != nil {
		c.t.Fatalf("close: %v", err)
	}
}

// Closed waits for the service to close the connection, and returns the code
// (RFC 6455, section 7.4). What comes before is passed over.
func (c *Client) Closed() int {
	c.t.Helper()
	for {
		if _, code := c.NextUnlessClosed(); code != 0 {
			return code
		}
	}
}

func (c *Client) read() ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return nil, err
	}
	return wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{c.in, c.conn})
}

// sent is a line of what an example says to try.
var sent = regexp.MustCompile(`ws\.send\('(.*)'\)`)

// Frames are the frames that a text tells its reader to send.
func Frames(text string) []string {
	var frames []string
	for _, line := range sent.FindAllStringSubmatch(text, -1) {
		frames = append(frames, line[1])
	}
	return frames
}
