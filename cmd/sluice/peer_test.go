package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/sluicehq/sluice/socket/client"
)

// peer is the server's end of one connection, with a script for a mind.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// receive returns the client's next frame.
func (p peer) receive() (ws.OpCode, string) {
	header, err := ws.ReadHeader(p.conn)
	if err != nil {
		return ws.OpClose, "" // the client went away
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(p.conn, payload); err != nil {
		return ws.OpClose, ""
	}
	ws.Cipher(payload, header.Mask, 0)
	return header.OpCode, string(payload)
}

// expect checks the client's next message.
func (p peer) expect(want string) {
	p.t.Helper()
	if _, got := p.receive(); got != want {
		p.t.Errorf("the client sent %s\nwant %s", got, want)
	}
}

func (p peer) send(format string, args ...any) {
	p.t.Helper()
	if err := wsutil.WriteServerText(p.conn, fmt.Appendf(nil, format, args...)); err != nil {
		p.t.Errorf("send to the client: %v", err)
	}
}

// sendUnlessGone is for what the client may not stay for.
func (p peer) sendUnlessGone(format string, args ...any) bool {
	return wsutil.WriteServerText(p.conn, fmt.Appendf(nil, format, args...)) == nil
}

func (p peer) frame(f ws.Frame) {
	p.t.Helper()
	if err := ws.WriteFrame(p.conn, f); err != nil {
		p.t.Errorf("send to the client: %v", err)
	}
}

// join answers a join that has to have these params.
func (p peer) join(params, response string) {
	p.t.Helper()
	p.expect(`["1","1","demo","phx_join",` + params + `]`)
	p.send(`["1","1","demo","phx_reply",{"status":"ok","response":%s}]`, response)
}

// linger reads until the client closes.
func (p peer) linger() {
	for op := ws.OpText; op != ws.OpClose; {
		op, _ = p.receive()
	}
}

var errNobody = errors.New("nobody there")

// scripted dials in memory: each attempt meets the next script, nil for nobody.
// More attempts than scripts are an error of the test.
func scripted(t *testing.T, scripts ...func(peer)) dialer {
	attempt := 0
	return func(context.Context) (net.Conn, *bufio.Reader, error) {
		if attempt == len(scripts) {
			t.Error("the client connects once too often")
			return nil, nil, client.Permanent(errNobody)
		}
		script := scripts[attempt]
		attempt++
		if script == nil {
			return nil, nil, errNobody
		}
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			script(peer{t, server})
		}()
		return client, nil, nil
	}
}

// socketStandIn serves a script to every client that connects over the network,
// and returns the URL of its socket.
func socketStandIn(t *testing.T, script func(peer)) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/socket/websocket" || r.URL.RawQuery != "vsn=2.0.0" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			t.Errorf("upgrade: %v", err)
			return
		}
		defer conn.Close()
		script(peer{t, conn})
	}))
	t.Cleanup(server.Close)
	return server.URL + "/socket"
}
