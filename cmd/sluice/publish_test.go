package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// request is what the admin API was asked.
type request struct{ path, contentType, authorization, body string }

// adminStandIn answers like the admin API: decide returns a status and a body.
// What it was asked is sent to the channel; that is closed with the server.
func adminStandIn(t *testing.T, decide func(r request) (status int, answer string)) (url string, asked <-chan request) {
	t.Helper()
	requests := make(chan request, 1000) // sent by handlers, never closed: more than any test asks
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked := request{r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(body)}
		requests <- asked
		status, answer := decide(asked)
		w.WriteHeader(status)
		io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func accept(request) (int, string) { return http.StatusAccepted, `{"count":1}` }

func TestPostOne(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, args string
		want       request
		stdout     string
	}{
		{
			"published", `publish orders:eu created {"id":7}`,
			request{"/api/events", "application/json", "", `{"topic":"orders:eu","event":"created","payload":{"id":7}}`},
			"published 1 event to orders:eu\n",
		},
		{
			"broadcast", `broadcast room:1 typing {"by":"ann"}`,
			request{"/api/broadcast", "application/json", "", `{"topic":"room:1","event":"typing","payload":{"by":"ann"}}`},
			"broadcast 1 event to room:1\n",
		},
		{
			"no payload", `publish demo greeted`,
			request{"/api/events", "application/json", "", `{"topic":"demo","event":"greeted","payload":{}}`},
			"published 1 event to demo\n",
		},
		{
			"quotes in the topic", `publish a"b\c greeted`,
			request{"/api/events", "application/json", "", `{"topic":"a\"b\\c","event":"greeted","payload":{}}`},
			"published 1 event to a\"b\\c\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, asked := adminStandIn(t, accept)
			got := call{args: strings.Fields(test.args), env: map[string]string{"SLUICE_ADMIN_URL": url}}.run(t)
			if got.exit != exitOK || got.stdout != test.stdout || got.stderr != "" {
				t.Errorf("got %+v, want stdout %q", got, test.stdout)
			}
			if r := <-asked; r != test.want {
				t.Errorf("asked %+v\nwant  %+v", r, test.want)
			}
		})
	}
}

// TestBroadcastNamesTheUnreached has the nodes that any answer names be told once, beside
// what is for programs to read.
func TestBroadcastNamesTheUnreached(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"{}"}, {"-"}} {
		var n atomic.Int64
		url, _ := adminStandIn(t, func(request) (int, string) {
			return http.StatusAccepted, []string{`{"count":1000,"unreached":["c","b"]}`, `{"count":1000,"unreached":["b"]}`}[n.Add(1)%2]
		})
		lines := strings.NewReader(strings.Repeat("{}\n", 2*batchLines))
		got := call{args: append([]string{"broadcast", "--admin-url", url, "demo", "typing"}, args...), stdin: lines}.run(t)
		want := "not told: b; who is connected there got nothing\n"
		if args[0] == "-" {
			want = "not told: b, c; who is connected there got nothing\n"
		}
		if got.exit != exitOK || !strings.HasPrefix(got.stdout, "broadcast ") || got.stderr != want {
			t.Errorf("%q: %+v, want stderr %q", args, got, want)
		}
	}
}

func TestPostBringsTheToken(t *testing.T) {
	t.Parallel()
	url, asked := adminStandIn(t, accept)
	got := call{args: []string{"publish", "--admin-url", url + "/", "--admin-token-file", writeFile(t, "secret\n"), "demo", "greeted"}}.run(t)
	if r := <-asked; got.exit != exitOK || r.authorization != "Bearer secret" || r.path != "/api/events" {
		t.Errorf("got %+v, asked %+v", got, r)
	}
}

func TestPostLines(t *testing.T) {
	t.Parallel()
	var lines strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&lines, "{\"n\": %d}\n", i)
	}
	for _, payload := range [][]string{nil, {"-"}} { // both ask for standard input
		url, asked := adminStandIn(t, accept)
		args := append([]string{"publish", "--admin-url", url, "demo", "counted"}, payload...)
		got := call{args: args, stdin: strings.NewReader(lines.String())}.run(t)
		if got.exit != exitOK || got.stdout != "published 2,500 events to demo\n" || got.stderr != "" {
			t.Fatalf("got %+v", got)
		}
		next := 0
		for len(asked) > 0 {
			r := <-asked
			if r.contentType != "application/x-ndjson" || strings.Count(r.body, "\n") > batchLines {
				t.Errorf("a request of %d lines as %s", strings.Count(r.body, "\n"), r.contentType)
			}
			for line := range strings.Lines(r.body) {
				if want := fmt.Sprintf("{\"topic\":\"demo\",\"event\":\"counted\",\"payload\":{\"n\": %d}}\n", next); line != want {
					t.Fatalf("line %q, want %q", line, want)
				}
				next++
			}
		}
		if next != 2500 {
			t.Errorf("%d events arrived", next)
		}
	}
}

// A line is sent when it is there: it doesn't wait for a batch to fill.
func TestPostLinesOfASlowWriter(t *testing.T) {
	t.Parallel()
	url, asked := adminStandIn(t, accept)
	in, writer := io.Pipe()
	done := make(chan outcome, 1)
	go func() {
		done <- call{args: []string{"publish", "--admin-url", url, "demo", "counted"}, stdin: in}.run(t)
	}()
	for i := range 3 {
		fmt.Fprintf(writer, "{\"n\": %d}\n", i)
		if r, want := <-asked, fmt.Sprintf("\"payload\":{\"n\": %d}}\n", i); !strings.HasSuffix(r.body, want) {
			t.Errorf("request %d: %q", i, r.body)
		}
	}
	writer.Close()
	if got := <-done; got.exit != exitOK || got.stdout != "published 3 events to demo\n" {
		t.Errorf("got %+v", got)
	}
}

func TestPostNothing(t *testing.T) {
	t.Parallel()
	url, asked := adminStandIn(t, accept)
	got := call{args: []string{"publish", "--admin-url", url, "demo", "counted"}, stdin: strings.NewReader("\n\n")}.run(t)
	if got.exit != exitOK || got.stdout != "published 0 events to demo\n" || len(asked) != 0 {
		t.Errorf("got %+v, asked %d times", got, len(asked))
	}
}

// All lines before the one that an error names are published, none after.
func TestPostStopsAtABadLine(t *testing.T) {
	t.Parallel()
	input := strings.Repeat("{}\n", 1200) + "\n{\"bad\": true}\n{}\n"
	refuse := func(r request) (int, string) {
		before, _, found := strings.Cut(r.body, "bad")
		if !found {
			return http.StatusAccepted, `{"count":1}`
		}
		return http.StatusBadRequest, fmt.Sprintf(`{"error":"line %d: key is too long","hint":"nothing was written"}`, 1+strings.Count(before, "\n"))
	}
	for _, test := range []struct{ name, input, want string }{
		{"that is seen here", strings.Replace(input, `{"bad": true}`, "bad", 1), "sluice: line 1202: invalid character 'b' looking for beginning of value (at byte 1) (published before: 1,200 events)\n"},
		{"that the API refuses", input, "sluice: line 1202: key is too long: nothing was written (published before: 1,200 events)\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, _ := adminStandIn(t, refuse)
			got := call{args: []string{"publish", "--admin-url", url, "demo", "counted"}, stdin: strings.NewReader(test.input)}.run(t)
			if got.exit != exitFailure || got.stderr != test.want || got.stdout != "" {
				t.Errorf("got %+v\nwant %s", got, test.want)
			}
		})
	}
}

func TestPostRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		status int
		answer string
		want   string
	}{
		{"with a hint", 503, `{"error":"the store has not been opened yet","hint":"try again"}`, "sluice: the store has not been opened yet: try again\n"},
		{"with no hint", 400, `{"error":"no"}`, "sluice: no\n"},
		{"for want of a token", 401, `{"error":"the admin token is missing or wrong"}`, "sluice: URL wants its admin token: give the file that holds it with --admin-token-file\n"},
		{"by something else", 404, "<html>", "sluice: URL answered 404 Not Found: is that the admin listener of sluice?\n"},
		{"by nothing in particular", 500, "{}", "sluice: URL answered 500 Internal Server Error: is that the admin listener of sluice?\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			url, _ := adminStandIn(t, func(request) (int, string) { return test.status, test.answer })
			got := call{args: []string{"publish", "--admin-url", url, "demo", "greeted"}}.run(t)
			if got.exit != exitFailure || strings.ReplaceAll(got.stderr, url, "URL") != test.want {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}

func TestPostToNobody(t *testing.T) {
	t.Parallel()
	got := call{args: []string{"publish", "--admin-url", "http://127.0.0.1:1", "demo", "greeted"}}.run(t)
	if got.exit != exitFailure || !strings.HasPrefix(got.stderr, "sluice: cannot reach http://127.0.0.1:1: ") ||
		!strings.HasSuffix(got.stderr, "; start it with: sluice serve; or name it with --admin-url\n") {
		t.Errorf("got %+v", got)
	}
}

// TestSchemesThatDoNotFit asks by TLS where there is none, without it where there is, and a
// server whose certificate nobody trusts.
func TestSchemesThatDoNotFit(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	of := func(url, scheme string) string { return scheme + url[strings.Index(url, "://"):] }
	for _, test := range []struct{ flag, url, want string }{
		{"--admin-url", of(plain.URL, "https"), "; no TLS is spoken there: see the scheme that --admin-url begins with\n"},
		{"--admin-url", of(secure.URL, "http"), " answers to TLS alone: begin --admin-url with https://\n"},
		{"--admin-url", secure.URL, "; name it by --admin-url as its certificate does; one that the system does not trust is trusted with SSL_CERT_FILE=FILE\n"},
		{"--url", of(plain.URL, "wss"), "; no TLS is spoken there: see the scheme that --url begins with\n"},
		{"--url", of(secure.URL, "ws"), "; if TLS is spoken there, begin --url with wss://\n"},
		{"--url", of(secure.URL, "wss"), "; name it by --url as its certificate does; one that the system does not trust is trusted with SSL_CERT_FILE=FILE\n"},
	} {
		args := []string{"publish", test.flag, test.url, "demo", "greeted"}
		if test.flag == "--url" {
			args = []string{"watch", test.flag, test.url, "demo"}
		}
		if got := (call{args: args}).run(t); got.exit != exitFailure || !strings.HasSuffix(got.stderr, test.want) {
			t.Errorf("%s %s: %+v", test.flag, test.url, got)
		}
	}
}

func TestPostIsInterrupted(t *testing.T) {
	t.Parallel()
	url, asked := adminStandIn(t, accept)
	in, writer := io.Pipe() // never ends by itself, like a terminal
	defer writer.Close()
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan outcome, 1)
	go func() {
		done <- call{args: []string{"publish", "--admin-url", url, "demo", "counted"}, stdin: in}.runUntil(ctx, t)
	}()
	io.WriteString(writer, "{}\n")
	<-asked
	interrupt()
	if got := <-done; got.exit != exitFailure || !strings.HasPrefix(got.stderr, "sluice: interrupted (published before: ") {
		t.Errorf("got %+v", got)
	}
}

func TestGrouped(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) is %q", n, got)
		}
	}
}

func BenchmarkReadLines(b *testing.B) {
	input := bytes.Repeat([]byte("{\"id\": 1234567, \"state\": \"created\", \"total\": 99.5}\n"), 10_000)
	b.SetBytes(int64(len(input)))
	b.ReportAllocs()
	command := postCmd{Topic: "orders:eu", Event: "created"}
	for b.Loop() {
		reader := newLineReader(bytes.NewReader(input), command.encoder())
		for reader.next().err == nil {
		}
	}
}
