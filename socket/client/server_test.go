package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// peer is the server's end of one connection.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// receive returns the client's next message, in a form to compare; "" when it has gone.
func (p peer) receive() string {
	for {
		text, op, err := wsutil.ReadClientData(p.conn)
		if err != nil {
			return ""
		}
		if op == ws.OpText {
			return string(text)
		}
	}
}

// next is receive, taken apart.
func (p peer) next() (message, bool) {
	text := p.receive()
	if text == "" {
		return message{}, false
	}
	m, err := decode([]byte(text))
	if err != nil {
		p.t.Errorf("the client sent %s: %v", text, err)
	}
	return m, err == nil
}

// send does not mind a client that has gone.
func (p peer) send(format string, args ...any) bool {
	return wsutil.WriteServerText(p.conn, fmt.Appendf(nil, format, args...)) == nil
}

func (p peer) reply(m message, status, response string) bool {
	return p.send(`["%s","%s",%q,"phx_reply",{"status":%q,"response":%s}]`, m.joinRef, m.ref, m.topic, status, response)
}

func (p peer) join(response string) message {
	m, _ := p.next()
	if m.event != "phx_join" {
		p.t.Errorf("the client sent %+v, not a join", m)
	}
	p.reply(m, "ok", response)
	return m
}

func (p peer) event(topic string, offset int) bool {
	return p.send(`[null,null,%q,"e",{"offset":%d,"data":{"n":%[2]d}}]`, topic, offset)
}

// linger reads until the client closes.
func (p peer) linger() {
	for p.receive() != "" {
	}
}

var errNobody = errors.New("nobody there")

// scripted connects in memory: each attempt meets the next script, nil for nobody. More
// attempts than scripts are an error of the test.
func scripted(t *testing.T, scripts ...func(peer)) Option {
	attempt := 0
	return Connect(func(context.Context) (net.Conn, *bufio.Reader, error) {
		if attempt == len(scripts) {
			t.Error("the client connects once too often")
			return nil, nil, Permanent(errNobody)
		}
		script := scripts[attempt]
		attempt++
		if script == nil {
			return nil, nil, errNobody
		}
		return meet(t, script), nil, nil
	})
}

// always has every attempt meet the same script.
func always(t *testing.T, script func(peer)) Option {
	return Connect(func(context.Context) (net.Conn, *bufio.Reader, error) { return meet(t, script), nil, nil })
}

func meet(t *testing.T, script func(peer)) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		script(peer{t, server})
	}()
	return client
}

// standInLog serves a log of so many events of each topic, from where a join asks, and echoes
// pushes.
func (p peer) standInLog(last int) {
	said := make(chan message, 1000) // by a reader of its own, as a server reads while it writes
	go func() {
		defer close(said)
		for m, ok := p.next(); ok; m, ok = p.next() {
			said <- m
		}
	}()
	for m := range said {
		if m.event != "phx_join" {
			p.reply(m, "ok", string(m.payload))
			continue
		}
		var params struct{ After int }
		if err := json.Unmarshal(m.payload, &params); err != nil {
			p.t.Error(err)
		}
		p.reply(m, "ok", fmt.Sprintf(`{"offset":%d,"epoch":"e","resumed":true}`, last))
		for n := params.After + 1; n <= last && p.event(m.topic, n); n++ {
		}
	}
}

// cutAfter is a connection that breaks when so many bytes have been written to it.
type cutAfter struct {
	net.Conn
	mu   sync.Mutex
	left int // guarded by mu
}

func (c *cutAfter) Write(data []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(data) < c.left {
		c.left -= len(data)
		return c.Conn.Write(data)
	}
	n, _ := c.Conn.Write(data[:c.left])
	c.left = 0
	c.Conn.Close()
	return n, io.ErrClosedPipe
}

func dial(t *testing.T, options ...Option) *Client {
	t.Helper()
	c, err := Dial(t.Context(), "", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// offsets takes so many events and returns their offsets, and errors, in one line.
func offsets(t *testing.T, c *Channel, count int) string {
	t.Helper()
	var got []string
	for e, err := range c.Events(t.Context()) {
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, fmt.Sprint(e.Offset))
		}
		if len(got) == count {
			break
		}
	}
	return strings.Join(got, " ")
}
