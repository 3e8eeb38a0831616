package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// A service is a running `sluice serve`.
type service struct {
	*process
	public string // address of the sockets
	admin  string // address of the admin listener
}

// serve runs the service on free ports and waits until it serves. Its
// clean-up stops it and expects a clean end. No client that a busy machine
// keeps from running is taken for gone, unless args say so.
func serve(t testing.TB, args ...string) *service {
	t.Helper()
	args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json", "--heartbeat-timeout", "1h"}, args...)
	return runs(t, sluice, args...)
}

// runs runs a program that serves, and says where as the service does.
func runs(t testing.TB, program string, args ...string) *service {
	t.Helper()
	s := &service{process: start(t, program, args...)}
	at, ok := s.stderr.next(t.Context(), 0, func(line string) bool { return strings.Contains(line, `"msg":"serving"`) })
	if !ok {
		t.Fatalf("the service does not serve:\n%s", s.stderr.text())
	}
	var serving struct{ Socket, Console string }
	if err := json.Unmarshal([]byte(s.stderr.line(at)), &serving); err != nil {
		t.Fatalf("read %s: %v", s.stderr.line(at), err)
	}
	s.public, s.admin = host(t, serving.Socket), host(t, serving.Console)
	t.Cleanup(func() {
		select {
		case <-s.exited: // the test stopped it, and has looked at how it went
		default:
			if code := s.stop(t); code != 0 {
				t.Errorf("the service ended with status %d", code)
			}
		}
		if log := s.stderr.text(); strings.Contains(log, "DATA RACE") {
			t.Errorf("a race in the service:\n%s", log)
		}
	})
	return s
}

// host is the address in a URL.
func host(t testing.TB, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil || u.Port() == "" {
		t.Fatalf("no address in %q: %v", text, err)
	}
	return u.Host
}

// ready waits until the service says that it is.
func (s *service) ready(t testing.TB) *service {
	t.Helper()
	s.awaitReadiness(t, http.StatusOK)
	return s
}

// awaitReadiness asks /readyz until it answers with a status, and tells what
// else it said.
func (s *service) awaitReadiness(t testing.TB, status int) string {
	t.Helper()
	return s.await(t, "/readyz", func(got int, _ string) bool { return got == status })
}

// await asks until the answer is the one awaited.
func (s *service) await(t testing.TB, path string, awaited func(status int, body string) bool) (body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		status, body := s.get(t, path)
		if awaited(status, body) {
			return body
		}
		select {
		case <-again.C:
		case <-s.exited:
			t.Fatalf("the service ended while %s said %d %s", path, status, body)
		case <-ctx.Done():
			t.Fatalf("%s still says %d %s", path, status, body)
		}
	}
}

// until waits until something is so, and looks with pauses, in which the services run.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("waited %v in vain until %s", patience, what)
		}
	}
}

// client asks without keeping connections, so that none outlives its test.
var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *service) get(t testing.TB, path string) (status int, body string) {
	t.Helper()
	return s.ask(t, http.MethodGet, path, "", "")
}

func (s *service) post(t testing.TB, path, contentType, body string) (status int, answer string) {
	t.Helper()
	return s.ask(t, http.MethodPost, path, contentType, body)
}

func (s *service) ask(t testing.TB, method, path, contentType, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, string(text)
}

// mount is where a phoenix client connects.
func mount(address string) string { return fmt.Sprintf("ws://%s/socket", address) }
