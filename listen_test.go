package sluice

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/connlimit"
	"github.com/sluicehq/sluice/internal/httpservertest"
)

// inMemory serves a service's two listeners in memory, without its store.
func inMemory(t *testing.T) (on [2]*httpservertest.Listener, stop func() error) {
	t.Helper()
	return inMemoryOver(t, func(l net.Listener) net.Listener { return l })
}

// inMemoryOver is inMemory with something between the public one and the service.
func inMemoryOver(t *testing.T, wrap func(net.Listener) net.Listener) (on [2]*httpservertest.Listener, stop func() error) {
	t.Helper()
	config := DefaultConfig()
	config.DataDir = filepath.Join(t.TempDir(), "data")
	service, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	on = [2]*httpservertest.Listener{httpservertest.Listen(), httpservertest.Listen()}
	servers := &servers{
		timeout: service.config.DrainTimeout,
		guard:   service.guard,
		each: []*http.Server{
			service.newServer(&connlimit.Listener{}, service.Handler()),
			service.newServer(&connlimit.Listener{}, service.AdminHandler()),
		},
		on: []net.Listener{wrap(on[0]), on[1]},
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- servers.run(ctx) }()
	stop = func() error {
		cancel()
		return <-ended
	}
	return on, stop
}

// requests are one for each kind of handler, on each listener.
var requests = [2][]string{
	{"GET /healthz", "POST /nowhere", "GET /socket/websocket", "POST /socket/websocket", "GET /socket/longpoll", "POST /socket/longpoll",
		"POST /socket/longpoll?token=poll.a.b.c", "OPTIONS /socket/longpoll", "PUT /socket/longpoll", "POST /socket", "POST /socket/sse", "OPTIONS /socket/sse", "GET /socket/sse", "GET /socket/sse?topic=phoenix"},
	{"GET /", "GET /healthz", "GET /readyz", "GET /metrics", "POST /metrics", "POST /api/events", "POST /api/broadcast", "GET /api/sockets", "GET /api/topics",
		"GET /api/stats", "DELETE /api/sockets/user", "POST /console/longpoll", "GET /console/websocket", "POST /nowhere"},
}

// TestNobodyHoldsAConnection has clients stall in every phase of every kind of
// request on both listeners.
func TestNobodyHoldsAConnection(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"public", "admin"} {
		for _, request := range requests[i] {
			t.Run(name+"/"+request, func(t *testing.T) {
				t.Parallel()
				method, path, _ := strings.Cut(request, " ")
				for _, stall := range httpservertest.Stalls {
					synctest.Test(t, func(t *testing.T) {
						on, stop := inMemory(t)
						start := time.Now()
						stall.Client(on[i].Dial(), method, path)
						if took := time.Since(start); took > stall.Bound {
							t.Errorf("%s: the connection has been open for %s", stall.Name, took)
						}
						if err := stop(); err != nil {
							t.Errorf("%s: %v", stall.Name, err)
						}
						time.Sleep(time.Second) // of the test's own clock: the server lingers over what it closes
					})
				}
			})
		}
	}
}

// TestStopWaitsForNoStall stops while all those clients are there.
func TestStopWaitsForNoStall(t *testing.T) {
	t.Parallel()
	for i, name := range []string{"public", "admin"} {
		for _, request := range requests[i] {
			t.Run(name+"/"+request, func(t *testing.T) {
				t.Parallel()
				method, path, _ := strings.Cut(request, " ")
				synctest.Test(t, func(t *testing.T) {
					on, stop := inMemory(t)
					ended := make(chan struct{}, len(httpservertest.Stalls))
					for _, stall := range httpservertest.Stalls {
						conn := on[i].Dial()
						go func() {
							stall.Client(conn, method, path)
							ended <- struct{}{}
						}()
					}
					time.Sleep(6 * time.Second) // of the test's own clock
					start := time.Now()
					if err := stop(); err != nil || time.Since(start) > 3*slowAtDrain {
						t.Errorf("stopped after %s: %v", time.Since(start), err)
					}
					for range httpservertest.Stalls {
						<-ended
					}
				})
			})
		}
	}
}

// TestAnswersReachWhoIsStillSending has clients send a body with every kind of request on
// both listeners, whether anybody wants it or not, and read nothing before they have sent all.
func TestAnswersReachWhoIsStillSending(t *testing.T) {
	t.Parallel()
	const pieces, size = 10, 30 << 10
	piece := strings.Repeat("[", size)
	for i, name := range []string{"public", "admin"} {
		for _, request := range requests[i] {
			for length, send := range map[string]string{
				fmt.Sprintf("Content-Length: %d", pieces*size): piece,
				"Transfer-Encoding: chunked":                   fmt.Sprintf("%x\r\n%s\r\n", size, piece),
			} {
				t.Run(name+"/"+request+"/"+length, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						on, stop := inMemory(t)
						conn := on[i].DialSocket()
						method, path, _ := strings.Cut(request, " ")
						_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", method, path, length)
						for range pieces {
							time.Sleep(time.Second) // of the test's own clock
							if err == nil {
								_, err = io.WriteString(conn, send)
							}
						}
						if err == nil && strings.HasPrefix(length, "Transfer") {
							_, err = io.WriteString(conn, "0\r\n\r\n")
						}
						if err != nil {
							t.Fatalf("while sending: %v", err)
						}
						response, err := http.ReadResponse(bufio.NewReader(conn), nil)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := io.Copy(io.Discard, response.Body); err != nil {
							t.Errorf("%s: %v", response.Status, err)
						}
						conn.Close()
						if err := stop(); err != nil {
							t.Error(err)
						}
						time.Sleep(time.Second) // of the test's own clock: the server lingers over what it closes
					})
				})
			}
		}
	}
}

// TestNobodyHoldsATLSConnection has clients stall in the handshake, and behind it
// in every phase of a request.
func TestNobodyHoldsATLSConnection(t *testing.T) {
	t.Parallel()
	lender := httptest.NewTLSServer(nil) // of a certificate
	certificate := lender.TLS.Certificates
	lender.Close()
	for _, stall := range append([]httpservertest.Stall{
		{Name: "says nothing at all", Bound: httpservertest.Longest},
		{Name: "begins the handshake", Bound: httpservertest.Longest},
	}, httpservertest.Stalls...) {
		t.Run(stall.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				on, stop := inMemoryOver(t, func(l net.Listener) net.Listener {
					return tls.NewListener(l, &tls.Config{Certificates: certificate})
				})
				start := time.Now()
				conn := on[0].Dial()
				if stall.Client == nil {
					if strings.HasPrefix(stall.Name, "begins") {
						_, _ = io.WriteString(conn, "\x16\x03\x01\x02\x00\x01")
					}
					<-conn.Ended
				} else {
					secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
					stall.Client(&httpservertest.Conn{Conn: secure, Ended: conn.Ended}, "POST", "/socket/longpoll")
				}
				if took := time.Since(start); took > stall.Bound+10*time.Second { // for the goodbye of TLS
					t.Errorf("the connection has been open for %s", took)
				}
				conn.Close()
				if err := stop(); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Second) // of the test's own clock: the server lingers over what it closes
			})
		})
	}
}

// TestSlowBulk posts as much as is allowed, by a client that is slow and moves.
func TestSlowBulk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		on, stop := inMemory(t)
		conn := on[1].Dial()
		event := `{"topic":"a","event":"b","payload":{"x":"` + strings.Repeat("x", 32<<10) + `"}}` + "\n"
		lines := 8 << 20 / len(event)
		go func() {
			fmt.Fprintf(conn, "POST /api//broadcast/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", lines*len(event))
			for range lines {
				time.Sleep(10 * time.Second) // of the test's own clock
				if _, err := io.WriteString(conn, event); err != nil {
					return
				}
			}
		}()
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != http.StatusAccepted {
			t.Fatal(response, err)
		}
		conn.Close()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}
