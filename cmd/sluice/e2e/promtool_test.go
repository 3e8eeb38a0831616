package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestPromtool has Prometheus's own tool judge what the program answers at /metrics, and the
// files of deploy/ that are for Prometheus.
func TestPromtool(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir()).ready(t)
	s.publish(t, "/api/events", "t", `{"n":1}`)
	status, answer := s.get(t, "/metrics")
	if status != 200 || !strings.Contains(answer, "sluice_events_appended_total") {
		t.Fatalf("status %d: %s", status, answer)
	}
	const rules, scrape = "../../../deploy/prometheus/alerts.yaml", "../../../deploy/prometheus/scrape.yaml"
	for _, args := range [][]string{
		{"check", "metrics"}, // as they come
		{"check", "rules", "--lint-fatal", rules},
		{"check", "config", "--syntax-only", scrape},
	} {
		promtool := exec.CommandContext(t.Context(), "promtool", args...)
		promtool.Stdin = strings.NewReader(answer)
		if said, err := promtool.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, said)
		}
	}
	faulty := exec.CommandContext(t.Context(), "promtool", "check", "metrics")
	faulty.Stdin = strings.NewReader(answer + "# TYPE sluice_lacks_help counter\nsluice_lacks_help 1\n")
	if said, err := faulty.CombinedOutput(); err == nil || !strings.Contains(string(said), "sluice_lacks_help") {
		t.Errorf("promtool finds nothing wrong with a counter without help and _total: %v\n%s", err, said)
	}
}
