package e2e

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/verdict"
	"github.com/sluicehq/sluice/metrics"
)

// TestDocumentedHook runs the backend that the page on hooks has, and asks it as the service
// does, with its own secret and with another.
func TestDocumentedHook(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var program string
	for _, block := range readBlocks(t, "../../../docs/hooks.md") {
		if block.language == "js" {
			program = block.text
		}
	}
	const own, other = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for name, text := range map[string]string{
		"app.mjs":      program + `server.on("listening", () => console.log(server.address().port))` + "\n",
		"hooks-secret": own + "\n", "both": other + "\n" + own + "\n", "other": other + "\n",
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
	set, err := metrics.New(metrics.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(secret, hook string, question hooks.Question) string {
		secrets, err := hooks.ReadSecrets(filepath.Join(folder, secret), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		caller, err := hooks.New(hooks.Config{Name: hook, URL: "http://127.0.0.1:" + strings.TrimSpace(lines.Text()) + "/sluice",
			Limits: verdict.Limits{MaxInFlight: 1, Timeout: 5 * time.Minute}, Secrets: secrets, Metrics: set, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer caller.Close()
		said, err := caller.Ask(t.Context(), verdict.Question{}, question)
		return fmt.Sprint(said.Do, " ", err)
	}
	seven := &hooks.Peer{ID: "user:7", Subject: "7"}
	for _, c := range []struct {
		secret, hook string
		question     hooks.Question
		want         string
	}{
		{"hooks-secret", hooks.Join, hooks.Question{Topic: "room:7", Socket: seven}, " <nil>"},
		{"both", hooks.Join, hooks.Question{Topic: "room:7", Socket: seven}, " <nil>"},
		{"other", hooks.Join, hooks.Question{Topic: "room:7", Socket: seven}, " denied by the hook: "},
		{"hooks-secret", hooks.Join, hooks.Question{Topic: "room:8", Socket: seven}, " denied by the hook: "},
		{"hooks-secret", hooks.Push, hooks.Question{Topic: "room:7", Event: "said", Socket: seven}, "broadcast <nil>"},
		{"hooks-secret", hooks.Push, hooks.Question{Topic: "room:7", Event: "sung", Socket: seven}, " denied by the hook: unknown event"},
		{"hooks-secret", hooks.Connect, hooks.Question{}, " denied by the hook: "},
	} {
		if got := ask(c.secret, c.hook, c.question); got != c.want {
			t.Errorf("%s with %s: %q, want %q", c.hook, c.secret, got, c.want)
		}
	}
}
