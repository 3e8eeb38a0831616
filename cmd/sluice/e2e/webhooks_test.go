package e2e

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/sluicetest"
)

// TestDocumentedWebhook runs the backend that the page on webhooks has, and sends it events
// as the page says: signed with its own secret and another beside it, and with another alone,
// which it refuses.
func TestDocumentedWebhook(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var program string
	for _, block := range readBlocks(t, docsFolder+"/webhooks.md") {
		if block.language == "js" {
			program = block.text
		}
	}
	const own, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for name, text := range map[string]string{
		"app.mjs":        program + `server.on("listening", () => console.log(server.address().port))` + "\n",
		"webhook-secret": own + "\n", "both": other + "\n" + own + "\n", "other": other + "\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	app := exec.CommandContext(ctx, "node", "app.mjs")
	app.Dir, app.Env, app.Stderr = folder, append(os.Environ(), "PORT=0"), os.Stderr
	out, err := app.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stop()
		_ = app.Wait() // it is killed
	}()
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatalf("it does not listen: %v", lines.Err())
	}
	hook := func(name, match, secret string) sluicetest.Webhook {
		return sluicetest.Webhook{Name: name, URL: "http://127.0.0.1:" + strings.TrimSpace(lines.Text()) + "/events", Match: match, SecretFile: filepath.Join(folder, secret)}
	}
	hooks := []sluicetest.Webhook{hook("mail", "orders:*", "both"), hook("refused", "users:*", "other")}
	n := sluicetest.Run(t, sluicetest.With(func(c *sluicetest.Config) { c.Webhooks = hooks }))
	publish := func(topic, payload string) {
		t.Helper()
		if status, answer := n.Request(http.MethodPost, n.Admin, "/api/events", map[string]string{"Content-Type": "application/json"},
			`{"topic":"`+topic+`","event":"paid","payload":`+payload+`}`); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
	}
	publish("orders:eu", `{"id":7}`)
	publish("users:7", `{"id":7}`)
	publish("orders:us", `{"name":"Zoë\n"}`)
	for _, want := range []string{`orders:eu paid {"id":7}`, `orders:us paid {"name":"Zoë\n"}`} {
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("it says %q, want %q; %v", lines.Text(), want, lines.Err())
		}
	}
	n.Eventually("refused", func() bool {
		_, body := n.Ask(http.MethodGet, "/api/stats")
		return strings.Contains(body, `{"name":"refused","state":"failing"`) && strings.Contains(body, "status 401")
	})
}
