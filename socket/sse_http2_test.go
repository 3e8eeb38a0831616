package socket

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/httpservertest"
	"github.com/sluicehq/sluice/metrics"
)

// TestStreamsOverHTTP2 has streams share a connection: one that is silent goes on, one that
// is not read ends without the others.
func TestStreamsOverHTTP2(t *testing.T) {
	bubble(t, named, func(t *testing.T, r *rig) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		listener := httpservertest.Listen()
		server := &http.Server{Handler: r.endpoint, Protocols: protocols, WriteTimeout: DefaultWriteTimeout}
		go server.Serve(listener)
		transport := &http.Transport{Protocols: protocols,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.Dial(), nil }}
		defer func() {
			transport.CloseIdleConnections()
			_ = r.stop()
			server.Close()
			time.Sleep(time.Second) // of the test's own clock: the server lingers over what it closes
		}()
		open := func(topic string) *http.Response {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pipe/socket/sse?topic="+topic, nil)
			resp, err := transport.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 || resp.ProtoMajor != 2 {
				t.Fatalf("%+v, %v", resp, err)
			}
			return resp
		}
		read, unread := open("room:a"), open("room:b")
		in := bufio.NewScanner(read.Body)
		line := func() string {
			for in.Scan() {
				if text := in.Text(); strings.HasPrefix(text, "data: ") {
					return text
				}
			}
			return "end"
		}
		if got := line(); !strings.Contains(got, `"resumed":true`) {
			t.Fatal(got)
		}
		time.AfterFunc(time.Hour, func() { r.log("room:a", "created", `{}`) })
		if got := line(); !strings.Contains(got, `"offset":1`) {
			t.Fatalf("after an hour of silence: %s", got)
		}
		for range 9 { // more than the client takes without being read
			r.log("room:b", "created", `{"x":"`+strings.Repeat("x", 1<<20)+`"}`)
			synctest.Wait()
		}
		time.Sleep(3 * DefaultWriteTimeout) // of the test's own clock
		synctest.Wait()
		slow, dropped := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooSlow))), r.counter(metrics.MessagesDropped, metrics.Reason(string(outbound.DropTooSlow)))
		if slow != 1 || dropped == 0 || r.endpoint.Sockets() != 1 {
			t.Errorf("%d too slow, %d messages dropped for it, %d sockets left", slow, dropped, r.endpoint.Sockets())
		}
		r.log("room:a", "created", `{}`)
		if got := line(); !strings.Contains(got, `"offset":11`) {
			t.Fatalf("the other stream gets %s", got)
		}
		if r.endpoint.Disconnect("user") != 1 || line() != "end" {
			t.Error("not disconnected")
		}
		unread.Body.Close()
	})
}
