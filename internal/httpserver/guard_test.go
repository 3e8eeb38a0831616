package httpserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/internal/httpserver"
	"github.com/sluicehq/sluice/internal/httpservertest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// serve serves a handler until the test ends.
func serve(t *testing.T, guard *httpserver.Guard, handler http.Handler) (*http.Server, *httpservertest.Listener) {
	t.Helper()
	server := &http.Server{Handler: guard.Handler(handler), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	listener := httpservertest.Listen()
	go server.Serve(listener)
	t.Cleanup(func() {
		server.Close()
		time.Sleep(time.Second) // of the test's own clock: the server lingers over what it closes
	})
	return server, listener
}

// handlers are what handlers do with a request, good or not.
var handlers = map[string]http.HandlerFunc{
	"reads and answers": func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			fmt.Fprint(w, "read")
		}
	},
	"does not read": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "not read") },
	"does nothing":  func(http.ResponseWriter, *http.Request) {},
	"answers much":  func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) },
	"answers for ever": func(w http.ResponseWriter, r *http.Request) {
		for ; ; time.Sleep(time.Second) {
			if _, err := w.Write(make([]byte, 100)); err != nil {
				return
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
		}
	},
	"thinks until its client leaves": func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select { // a client that has sent the beginning of another request is not seen leaving
		case <-time.After(time.Minute):
		case <-r.Context().Done():
		}
	},
	"thinks, then reads": func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Second) // of the test's own clock
		_, _ = io.Copy(io.Discard, r.Body)
	},
	"panics": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"sets deadlines of its own": func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour))
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(make([]byte, 1<<20))
	},
}

// TestStallsAreBounded has every client that stalls meet every handler.
func TestStallsAreBounded(t *testing.T) {
	t.Parallel()
	for what, handler := range handlers {
		for _, stall := range httpservertest.Stalls {
			t.Run(what+"/"+stall.Name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), handler)
					start := time.Now()
					conn := listener.Dial()
					endless := what == "answers for ever"
					time.AfterFunc(stall.Bound, func() {
						if endless { // that is the handler's to bound
							conn.Close()
						}
					})
					stall.Client(conn, http.MethodPost, "/")
					if took := time.Since(start); took > stall.Bound+time.Minute {
						t.Fatalf("the connection has been open for %s", took)
					}
					conn.Close()
				})
			})
		}
	}
}

// TestSlowBodiesAreRead sends bodies that are slow and move.
func TestSlowBodiesAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		total int
		piece int           // bytes, sent at a time
		every time.Duration // between them
		think time.Duration // of the handler, for each piece
		ok    bool
	}{
		{"8 MiB at 2 KiB/s", 8 << 20, 64 << 10, 32 * time.Second, 0, true},
		{"8 MiB at 2 KiB/s after a pause within what is allowed", 8 << 20, 16 << 10, 8 * time.Second, 0, true},
		{"1 MiB at 512 B/s", 1 << 20, 4 << 10, 8 * time.Second, 0, false},
		{"a fast client of a slow handler", 1 << 20, 32 << 10, 0, time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, listener := serve(t, httpserver.New(httpserver.Deadlines{Body: 40 * time.Second}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					n, err := 0, error(nil)
					for buf := make([]byte, 32<<10); err == nil; time.Sleep(c.think) {
						var got int
						got, err = r.Body.Read(buf)
						n += got
					}
					if err != io.EOF {
						http.Error(w, err.Error(), http.StatusRequestTimeout)
						return
					}
					fmt.Fprint(w, n)
				}))
				conn := listener.Dial()
				sent := make(chan struct{})
				defer func() { conn.Close(); <-sent }()
				go func() {
					defer close(sent)
					fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", c.total)
					for sent := 0; sent < c.total; sent += c.piece {
						time.Sleep(c.every) // of the test's own clock
						if _, err := conn.Write(make([]byte, c.piece)); err != nil {
							return
						}
					}
				}()
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				answer, _ := io.ReadAll(response.Body)
				if (string(answer) == fmt.Sprint(c.total)) != c.ok {
					t.Fatalf("%s: %s", response.Status, answer)
				}
			})
		})
	}
}

// TestSlowAnswersAreWritten reads an answer slowly.
func TestSlowAnswersAreWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), handlers["answers much"])
		conn := listener.Dial()
		defer conn.Close()
		go fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		n := 0
		for buf := make([]byte, 16<<10); ; time.Sleep(2 * time.Second) {
			got, err := conn.Read(buf)
			if n += got; err != nil {
				break
			}
		}
		if n < 1<<20 {
			t.Fatalf("%d bytes", n)
		}
	})
}

// TestALongThoughtIsAnswered has a handler take longer than any deadline.
func TestALongThoughtIsAnswered(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"Content-Length: 2\r\n\r\n{}", "\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				select {
				case <-time.After(time.Hour):
				case <-r.Context().Done():
				}
				fmt.Fprint(w, r.Context().Err())
			}))
			conn := listener.Dial()
			defer conn.Close()
			go fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+body)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer, _ := io.ReadAll(response.Body); string(answer) != "<nil>" {
				t.Fatalf("%s", answer)
			}
		})
	}
}

// TestDrainWaitsForNoStall has the server shut down while clients stall, or are
// slow.
func TestDrainWaitsForNoStall(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Second
	for what, handler := range handlers {
		if what == "thinks until its client leaves" || what == "thinks, then reads" {
			continue
		}
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				guard := httpserver.New(httpserver.Deadlines{Body: time.Hour, Write: time.Hour})
				server, listener := serve(t, guard, handler)
				var conns []*httpservertest.Conn
				var clients sync.WaitGroup
				defer clients.Wait()
				for _, stall := range httpservertest.Stalls {
					conn := listener.Dial()
					conns = append(conns, conn)
					clients.Go(func() { stall.Client(conn, http.MethodPost, "/") })
				}
				time.Sleep(6 * time.Second) // of the test's own clock
				start := time.Now()
				guard.Drain(patience)
				if err := server.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > 2*patience+time.Second {
					t.Fatalf("took %s", took)
				}
				for _, conn := range conns {
					conn.Close()
				}
			})
		})
	}
}

// TestDeadlinesOfTheHandler has a handler end what it reads and writes, from
// elsewhere, and has that end with the request.
func TestDeadlinesOfTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var control *http.ResponseController
		var failed error
		_, listener := serve(t, httpserver.New(httpserver.Deadlines{}), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control = http.NewResponseController(w)
			if r.URL.Path == "/cut" {
				time.AfterFunc(time.Second, func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
				_, failed = io.Copy(io.Discard, r.Body)
			}
			fmt.Fprint(w, "done")
		}))
		conn := listener.Dial()
		start := time.Now()
		go fmt.Fprint(conn, "POST /cut HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		in := bufio.NewReader(conn)
		if _, err := http.ReadResponse(in, nil); err != nil || !errors.Is(failed, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Fatal(err, failed, time.Since(start))
		}
		conn.Close()
		conn = listener.Dial()
		defer conn.Close()
		in = bufio.NewReader(conn)
		for range 2 {
			go fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(response.Body)
			synctest.Wait()
			if err := control.SetReadDeadline(time.Unix(1, 0)); err == nil { // the connection is the next request's
				t.Fatal("a request that has ended sets deadlines")
			}
		}
	})
}

func TestCleanPath(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"/": "/", "//": "/", "/a": "/a", "/a/": "/a", "//a///b//": "/a/b", "/a/./b/../c": "/a/c", "/..": "/",
		"/a/b%2Fc/": "/a/b%2Fc", "/a%2F%2Fb": "/a%2F%2Fb", "//user%3A7/": "/user%3A7",
	} {
		var got string
		r, err := http.NewRequest(http.MethodGet, "http://x"+given+"?q=//", nil)
		if err != nil {
			t.Fatal(err)
		}
		httpserver.CleanPath(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = r.URL.EscapedPath()
			if r.URL.RawQuery != "q=//" || strings.Contains(r.URL.Path, "%2F") {
				t.Errorf("%s: %+v", given, r.URL)
			}
		})).ServeHTTP(nil, r)
		if got != want {
			t.Errorf("%s is served as %s, want %s", given, got, want)
		}
	}
}
