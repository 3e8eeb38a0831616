package socket

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/sluicehq/sluice/internal/httpservertest"
)

// streamRig is an endpoint that streams are read from.
type streamRig struct {
	*rig
	listener *httpservertest.Listener
}

// streaming runs a test in a bubble.
func streaming(t *testing.T, adjust func(*Config), test func(t *testing.T, r *streamRig)) {
	t.Helper()
	bubble(t, adjust, func(t *testing.T, r *rig) { test(t, &streamRig{r, r.serveInMemory()}) })
}

// request asks for a stream: headers are "Name: value".
func (r *streamRig) request(method, query string, headers ...string) (*http.Response, *httpservertest.Conn) {
	r.t.Helper()
	req := httptest.NewRequest(method, "/socket/sse"+query, nil)
	req.Host = "pipe"
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		req.Header[name] = []string{value}
	}
	conn := r.listener.Dial()
	r.t.Cleanup(func() { conn.Close() })
	var head strings.Builder
	if err := req.Write(&head); err != nil {
		r.t.Fatal(err)
	}
	go io.WriteString(conn, head.String()) // the pipe has no buffer, and a server may not read all
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp, conn
}

// refused asks for a stream that there is not, and returns how that is said.
func (r *streamRig) refused(query string, headers ...string) (status int, body string) {
	r.t.Helper()
	resp, _ := r.request(http.MethodGet, query, headers...)
	if resp.StatusCode == http.StatusOK {
		return resp.StatusCode, ""
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// stream is a client that reads whatever comes.
type stream struct {
	t      testing.TB
	conn   *httpservertest.Conn
	blocks chan string // what stands between empty lines; the goroutine that reads sends and closes
}

func (r *streamRig) stream(query string, headers ...string) *stream {
	r.t.Helper()
	resp, conn := r.request(http.MethodGet, query, headers...)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" ||
		resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Accel-Buffering") != "no" {
		text, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	s := &stream{t: r.t, conn: conn, blocks: make(chan string, 1<<12)}
	go func() {
		defer close(s.blocks)
		var block strings.Builder
		for in := bufio.NewReader(resp.Body); ; {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if line != "\n" {
				block.WriteString(line)
				continue
			}
			s.blocks <- strings.TrimSuffix(block.String(), "\n")
			block.Reset()
		}
	}()
	return s
}

// next is the next block, or "end".
func (s *stream) next() string {
	if block, ok := <-s.blocks; ok {
		return block
	}
	return "end"
}

// want reads blocks, of lines that are told with | between, and compares them.
func (s *stream) want(blocks ...string) {
	s.t.Helper()
	for _, want := range blocks {
		if got := strings.ReplaceAll(s.next(), "\n", "|"); got != want {
			s.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// quiet fails unless there is nothing more for now.
func (s *stream) quiet() {
	s.t.Helper()
	synctest.Wait()
	if len(s.blocks) > 0 {
		s.t.Fatalf("received %s", s.next())
	}
}
