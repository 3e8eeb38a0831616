package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestEventSource has the page of docs/sse.md read two topics in Chromium, lose its
// connection at each event, and at last its access: it shows all, once, and does not come
// back.
func TestEventSource(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--jwt-secret-file", secretFile(t)).ready(t)
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	var script string
	for _, block := range readBlocks(t, filepath.Join(docsFolder, "sse.md")) {
		if block.language == "js" {
			script = block.text
		}
	}
	door := newRelay(t).open(t, s.public)
	token := claims{"sub": "ann", "iat": time.Now().Add(-time.Hour).Unix()}.sign(t)
	script = strings.NewReplacer("127.0.0.1:4000", door.address, "orders:us", "orders:us&token="+token).Replace(script)
	publish := func(topic string, n int) {
		t.Helper()
		if status, body := s.post(t, "/api/events", "application/json", fmt.Sprintf(`{"topic":%q,"event":"created","payload":{"n":%d}}`, topic, n)); status != 202 {
			t.Fatalf("publish: %d %s", status, body)
		}
	}
	page := alone(start(t, "node", "node/sse.mjs", chromium, "http://"+door.address+"/healthz", script))
	page.next(t, "ready")
	until(t, "the page reads", func() bool {
		_, sockets := s.get(t, "/api/sockets")
		return strings.Contains(sockets, `"transport":"sse"`)
	})
	for i, topic := range []string{"orders:us", "orders:eu", "orders:us"} {
		publish(topic, i)
		got := page.next(t, "event", "reload", "refused", "broken")
		if got.What != "event" || got.Topic != topic || got.Event != "created" || string(got.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Fatalf("%+v, want %d on %s", got, i, topic)
		}
		door.cut()
	}
	if code, stdout, stderr := run(t, "", sluice, "revoke", "--admin-url", "http://"+s.admin, "--sub", "ann"); code != 0 {
		t.Fatal(stdout, stderr)
	}
	if got := page.next(t, "event", "reload", "refused", "broken"); got.What != "refused" {
		t.Fatalf("%+v, want it refused", got)
	}
	page.stdin.Close()
	page.wait(t)
}
