package sluice_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// adminToken is long enough.
const adminToken = "s3cret-s3cret-s3cret"

// readToken may read.
const readToken = "reader-reader-reader"

func socketIDs(t *testing.T, n *sluicetest.Node) (ids []string) {
	t.Helper()
	var list struct{ Sockets []sluice.SocketInfo }
	_, body := n.Ask("GET", "/api/sockets")
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err, body)
	}
	for _, each := range list.Sockets {
		ids = append(ids, each.ID)
	}
	return ids
}

// safeBuffer is a log that several goroutines write.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestAdminToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := put(t, filepath.Join(dir, "token"), adminToken+"\r\n")
	n := sluicetest.Run(t, with(func(c *sluice.Config) {
		c.AdminTokenFile = path
		c.AdminReadTokenFile = put(t, filepath.Join(dir, "read"), readToken)
		c.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "the page") })
	}))
	const event = `{"topic":"a","event":"b"}`
	for _, test := range []struct {
		method, path, authorization string
		status                      int
	}{
		{"GET", "/", "", 200},
		{"GET", "/healthz", "", 200},
		{"GET", "/readyz", "", 200},
		{"GET", "/api/stats", "", 401},
		{"GET", "/api/stats", "Bearer wrong", 401},
		{"GET", "/api/stats", "Basic " + adminToken, 401},
		{"GET", "/api/stats", adminToken, 401},
		{"GET", "/api/stats", "Bearer " + adminToken, 200},
		{"GET", "/api/stats", "bearer " + adminToken, 200},
		{"GET", "/api/stats", "BEARER  " + adminToken + " ", 200},
		{"GET", "/api/stats", "Bearer " + readToken, 200},
		{"GET", "/metrics", "", 401},
		{"GET", "/metrics", "Bearer " + adminToken, 200},
		{"GET", "/metrics", "Bearer " + readToken, 200},
		{"POST", "/api/events", "Bearer " + readToken, 403},
		{"POST", "/api/broadcast", "Bearer " + readToken, 403},
		{"DELETE", "/api/sockets/x", "Bearer " + readToken, 403},
		{"POST", "/api/events", "Bearer " + adminToken, 202},
		{"GET", "/console/websocket?vsn=2.0.0", "", 400}, // not an upgrade: that is checked first
	} {
		status, body := n.Request(test.method, n.Admin, test.path, map[string]string{"Authorization": test.authorization}, event)
		if status != test.status {
			t.Errorf("%s %s with %q: got %d %s, want %d", test.method, test.path, test.authorization, status, body, test.status)
		}
	}
	n.Public = n.Admin
	if status := n.Refused("/console", "token="+readToken); status != 401 {
		t.Errorf("the console's socket answered the reading token %d", status)
	}

	// Read again, once it can be.
	put(t, path, "too short")
	put(t, path, adminToken+"-new")
	n.Eventually("read again", func() bool {
		status, _ := n.Request("GET", n.Admin, "/api/stats", map[string]string{"Authorization": "Bearer " + adminToken + "-new"}, "")
		return status == 200
	})
}

// TestAdminTokensThatCannotBeUsed starts with tokens that are none.
func TestAdminTokensThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := put(t, filepath.Join(dir, "good"), adminToken)
	for name, text := range map[string]string{"short": "fifteen chars!!", "empty": "", "space": strings.Repeat(" ", 20), "lines": adminToken + "\n" + adminToken} {
		path := put(t, filepath.Join(dir, name), text)
		for field, change := range map[string]func(*sluice.Config){
			"AdminTokenFile":     func(c *sluice.Config) { c.AdminTokenFile = path },
			"AdminReadTokenFile": func(c *sluice.Config) { c.AdminTokenFile, c.AdminReadTokenFile = good, path },
		} {
			config := sluice.DefaultConfig()
			config.Logger = slog.New(slog.DiscardHandler)
			change(&config)
			if _, err := sluice.New(config); err == nil || !strings.Contains(err.Error(), field) || text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("%s as %s: %v", name, field, err)
			}
		}
	}
	for name, change := range map[string]func(*sluice.Config){
		"short":         func(c *sluice.Config) { c.AdminToken = "short" },
		"twice":         func(c *sluice.Config) { c.AdminToken, c.AdminTokenFile = adminToken, good },
		"reading alone": func(c *sluice.Config) { c.AdminReadTokenFile = good },
		"one for both":  func(c *sluice.Config) { c.AdminTokenFile, c.AdminReadTokenFile = good, good },
	} {
		config := sluice.DefaultConfig()
		config.Logger = slog.New(slog.DiscardHandler)
		change(&config)
		if _, err := sluice.New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// TestWritesAreAudited writes in every way that the admin API has, and asks the
// log who it was.
func TestWritesAreAudited(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{"with a token": adminToken, "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			n := sluicetest.Run(t, with(func(c *sluice.Config) {
				c.AdminToken = token
				c.Logger = slog.New(slog.NewTextHandler(&log, nil))
			}))
			header := map[string]string{"Authorization": "Bearer " + token, "Content-Type": "application/x-ndjson"}
			who := `who=anyone`
			if token != "" {
				who = `who="token `
			}
			const event = `{"topic":"a","event":"b"}` + "\n"
			for _, test := range []struct{ method, path, body, want string }{
				{"POST", "/api/events", event + event, "action=append count=2"},
				{"POST", "/api/broadcast", event, "action=broadcast count=1"},
				{"POST", "/api/erase", `{"topic":"none"}`, "action=erase count=0"},
				{"DELETE", "/api/sockets/user:7", "", "action=disconnect count=0"},
			} {
				before := len(log.String())
				n.Request(test.method, n.Admin, test.path, header, test.body)
				line := log.String()[before:]
				for _, want := range []string{"admin write", test.want, who, "remote_addr=127.0.0.1:"} {
					if !strings.Contains(line, want) {
						t.Errorf("%s %s: no %s in %s", test.method, test.path, want, line)
					}
				}
			}
			before := len(log.String())
			n.Request("GET", n.Admin, "/api/stats", header, "")
			if line := log.String()[before:]; strings.Contains(line, "admin write") {
				t.Errorf("reading is audited: %s", line)
			}
			if token != "" && strings.Contains(log.String(), token) {
				t.Error("the log has the token")
			}
		})
	}
}

// TestGuessesAreTold guesses over HTTP and over the console's socket.
func TestGuessesAreTold(t *testing.T) {
	t.Parallel()
	var log safeBuffer
	n := sluicetest.Run(t, with(func(c *sluice.Config) {
		c.AdminToken = adminToken
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	}))
	guess := func() {
		n.Request("GET", n.Admin, "/api/stats", map[string]string{"Authorization": "Bearer wrong"}, "")
	}
	guess()
	if !strings.Contains(log.String(), `msg="wrong admin token" remote_addr=127.0.0.1:`) {
		t.Error(log.String())
	}
	admin := *n
	admin.Public = n.Admin
	admin.Refused("/console", "token=wrong")
	_, body := n.Request("GET", n.Admin, "/metrics", map[string]string{"Authorization": "Bearer " + adminToken}, "")
	if !strings.Contains(body, "sluice_admin_guesses_total{") || !strings.Contains(body, "} 2\n") {
		t.Error(body)
	}
	for range 10 {
		guess()
	}
	begun := time.Now()
	if status, _ := n.Request("GET", n.Admin, "/api/stats", map[string]string{"Authorization": "Bearer " + adminToken}, ""); status != 200 {
		t.Errorf("who knows the token was answered %d", status)
	}
	if time.Since(begun) < time.Second {
		t.Error("not slowed")
	}
}
