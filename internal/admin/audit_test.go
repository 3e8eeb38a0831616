package admin_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

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

// TestWritesAreAudited writes in every way that the admin API has, and asks the
// log who it was.
func TestWritesAreAudited(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]string{"with a token": adminToken, "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log safeBuffer
			n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
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
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
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
