package admin_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// adminToken is long enough.
const adminToken = "s3cret-s3cret-s3cret"

// readToken may read.
const readToken = "reader-reader-reader"

func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAdminToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := put(t, filepath.Join(dir, "token"), adminToken+"\r\n")
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) {
		c.AdminTokenFile = path
		c.AdminReadTokenFile = put(t, filepath.Join(dir, "read"), readToken)
		c.Console = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			io.WriteString(w, "the page")
		})
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
