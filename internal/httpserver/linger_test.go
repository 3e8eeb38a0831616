package httpserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/httpservertest"
)

// sending is a client that sends a body of some size in pieces, and reads nothing
// before it has sent all.
type sending struct {
	name  string
	bytes int
	piece int           // bytes
	every time.Duration // between them
	head  string        // besides the body's length
	size  bool          // the length is declared; else the body is sent in chunks
}

var sendings = []sending{
	{"a byte", 1, 1, 4 * time.Second, "", true},
	{"a small body at once", 100, 100, 0, "", true},
	{"a small body slowly", 100, 30, 4 * time.Second, "", true},
	{"a body", 200 << 10, 10 << 10, time.Second, "", true},
	{"a large body fast", 2 << 20, 64 << 10, 0, "", true},
	{"a large body slowly", 2 << 20, 256 << 10, 2 * time.Second, "", true},
	{"a body that it asks about, and sends anyway", 1 << 20, 64 << 10, time.Second, "Expect: 100-continue\r\n", true},
	{"a small body in chunks", 100, 30, 4 * time.Second, "", false},
	{"a body in chunks", 200 << 10, 10 << 10, time.Second, "", false},
	{"a large body in chunks", 2 << 20, 64 << 10, 0, "", false},
	{"chunks that it asks about, and sends anyway", 1 << 20, 64 << 10, time.Second, "Expect: 100-continue\r\n", false},
}

// send sends the request. It ends early when the connection has ended.
func (s sending) send(conn io.Writer, proto string) error {
	length := fmt.Sprintf("Content-Length: %d\r\n", s.bytes)
	if !s.size {
		length = "Transfer-Encoding: chunked\r\n"
	}
	if _, err := fmt.Fprintf(conn, "POST / %s\r\nHost: x\r\n%s%s\r\n", proto, s.head, length); err != nil {
		return err
	}
	for sent := 0; sent < s.bytes; sent += s.piece {
		time.Sleep(s.every) // of the test's own clock
		piece := strings.Repeat("x", min(s.piece, s.bytes-sent))
		if !s.size {
			piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := io.WriteString(conn, piece); err != nil {
			return err
		}
	}
	if s.size {
		return nil
	}
	_, err := io.WriteString(conn, "0\r\n\r\n")
	return err
}

// refusals are handlers that answer before they have read the body.
var refusals = map[string]http.HandlerFunc{
	"nothing":    func(http.ResponseWriter, *http.Request) {},
	"a status":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	"no content": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
	"a text":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusMethodNotAllowed) },
	"JSON": func(w http.ResponseWriter, _ *http.Request) {
		httpserver.Refuse(w, http.StatusUnauthorized, "no", "yes")
	},
	"a flushed answer": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		fmt.Fprint(w, "no")
		_ = http.NewResponseController(w).Flush()
	},
	"a longer answer": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10000")
		for range 10 {
			_, _ = w.Write(make([]byte, 1000))
		}
	},
	"and closes": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		httpserver.Refuse(w, http.StatusServiceUnavailable, "no", "yes")
	},
	"too large": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 50))
		httpserver.Refuse(w, http.StatusRequestEntityTooLarge, "no", "yes")
	},
	"from within another guard": func(w http.ResponseWriter, r *http.Request) {
		httpserver.New(httpserver.Deadlines{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			httpserver.Refuse(w, http.StatusNotFound, "no", "yes")
		})).ServeHTTP(w, r)
	},
	"when it is cut short": func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
		w.WriteHeader(http.StatusOK)
	},
}

// TestAnswersReachWhoIsStillSending has clients that read nothing before they have
// sent all be answered before.
func TestAnswersReachWhoIsStillSending(t *testing.T) {
	t.Parallel()
	for what, handler := range refusals {
		for _, s := range sendings {
			for _, proto := range []string{"HTTP/1.1", "HTTP/1.0"} {
				if proto == "HTTP/1.0" && (!s.size || s.head != "") {
					continue // that has neither chunks nor Expect
				}
				t.Run(what+"/"+s.name+"/"+proto, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), handler)
						conn := listener.DialSocket()
						defer conn.Close()
						if err := s.send(conn, proto); err != nil {
							t.Fatalf("while sending: %v", err)
						}
						response, err := http.ReadResponse(bufio.NewReader(conn), nil)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := io.ReadAll(response.Body); err != nil {
							t.Fatalf("%s: %v", response.Status, err)
						}
					})
				})
			}
		}
	}
}

// TestAnswersAreCompleteAtOnce has clients wait for the whole answer before they send
// their body, or more of it than its beginning.
func TestAnswersAreCompleteAtOnce(t *testing.T) {
	t.Parallel()
	for what, handler := range refusals {
		if what == "too large" {
			continue // it waits for the body
		}
		for _, head := range []string{"Content-Length: 1000000\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
			"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"} {
			t.Run(what, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), handler)
					conn := listener.DialSocket()
					defer conn.Close()
					start := time.Now()
					_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+head)
					response, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if err != nil {
						t.Fatal(err)
					}
					if response.StatusCode == http.StatusContinue {
						t.Fatal("the client is asked for a body that nobody wants")
					}
					if _, err := io.ReadAll(response.Body); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took > 0 {
						t.Errorf("%s: the answer took %s", response.Status, took)
					}
					if !response.Close {
						t.Errorf("%s: the client is not told that the connection ends", response.Status)
					}
				})
			})
		}
	}
}

// TestTheConnectionGoesOn has requests that are refused follow each other on a
// connection: none is taken for a part of another's body.
func TestTheConnectionGoesOn(t *testing.T) {
	t.Parallel()
	for what, handler := range refusals {
		for _, s := range sendings {
			t.Run(what+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					served := 0
					_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if served++; r.URL.Path != "/" || r.Method != http.MethodPost {
							t.Errorf("served %s %s", r.Method, r.URL)
						}
						handler(w, r)
					}))
					conn := listener.DialSocket()
					defer conn.Close()
					in := bufio.NewReader(conn)
					sent := 0
					for range 3 {
						if err := s.send(conn, "HTTP/1.1"); err != nil {
							break
						}
						sent++
						response, err := http.ReadResponse(in, nil)
						if err != nil {
							t.Fatalf("after %d: %v", sent, err)
						}
						if _, err := io.Copy(io.Discard, response.Body); err != nil || response.Close {
							break
						}
					}
					if small := s.name == "a small body at once"; small && sent < 3 && what != "and closes" {
						t.Errorf("the connection has ended after %d small requests", sent)
					}
					if served != sent {
						t.Errorf("%d requests have been served of %d that were sent", served, sent)
					}
				})
			})
		}
	}
}

// TestNobodyIsReadForEver has clients that never end be answered: their connections end
// within a bounded time, and after a bounded number of bytes.
func TestNobodyIsReadForEver(t *testing.T) {
	t.Parallel()
	const longest = time.Minute
	for what, handler := range refusals {
		for _, s := range []sending{
			{"sends nothing", 1 << 40, 1 << 10, time.Hour, "", true},
			{"a byte now and then", 1 << 40, 1, 4 * time.Second, "", true},
			{"a stream", 1 << 40, 4 << 10, 50 * time.Millisecond, "", true},
			{"a flood", 1 << 40, 1 << 20, 0, "", true},
			{"chunks now and then", 1 << 40, 1, 4 * time.Second, "", false},
			{"a stream of chunks", 1 << 40, 4 << 10, 50 * time.Millisecond, "", false},
			{"a flood of chunks", 1 << 40, 1 << 20, 0, "", false},
		} {
			if s.every == 0 && what != "JSON" {
				continue // it is the same to all of them, and long
			}
			t.Run(what+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), handler)
					conn := listener.DialSocket()
					defer conn.Close()
					start := time.Now()
					counted := &counter{Writer: conn}
					if err := s.send(counted, "HTTP/1.1"); err == nil {
						t.Error("all has been read")
					}
					if took := time.Since(start); took > longest && s.every < time.Hour {
						t.Errorf("read for %s", took)
					}
					if counted.n > 80<<20 {
						t.Errorf("%d bytes have been read", counted.n)
					}
				})
			})
		}
	}
}

// counter counts what is written.
type counter struct {
	io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += n
	return n, err
}

// TestSocketsReset shows that the sockets of these tests lose what they should.
func TestSocketsReset(t *testing.T) {
	t.Parallel()
	for what, lose := range map[string]func(server, client *httpservertest.Socket) error{
		"closed with unread data": func(server, client *httpservertest.Socket) error {
			_, err := io.WriteString(client, "unread")
			return errors.Join(err, server.Close())
		},
		"sent to after it has closed": func(server, client *httpservertest.Socket) error {
			if err := server.Close(); err != nil {
				return err
			}
			if _, err := io.WriteString(client, "late"); err == nil {
				return errors.New("written to who has closed")
			}
			return nil
		},
	} {
		server, client := httpservertest.Sockets()
		if _, err := io.WriteString(server, "answer"); err != nil {
			t.Fatal(err)
		}
		if err := lose(server, client); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n, err := client.Read(make([]byte, 10)); err == nil {
			t.Errorf("%s: %d bytes arrived", what, n)
		}
	}
}
