package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	results "github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// bench runs a scenario of nodes that it starts by itself, on a database of the test.
func bench(t testing.TB, scenario string, args ...string) (r results.Result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "result.json")
	code, stdout, stderr := run(t, "", sluice, append([]string{"bench", scenario, "--database-url", pgtest.Schema(t), "--json", file}, args...)...)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("status %d, %v:\n%s%s", code, err, stdout, stderr)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if (code == 0) != r.Sound() || r.Scenario != scenario || !strings.Contains(stdout, scenario) {
		t.Errorf("status %d:\n%s%s%s", code, text, stdout, stderr)
	}
	return r
}

// TestBenchCluster measures what crosses two nodes. Broadcasts may be lost where a node is
// kept from running; nothing may come twice or out of order, and no row be lost.
func TestBenchCluster(t *testing.T) {
	t.Parallel()
	r := bench(t, "cluster", "--nodes", "2", "--topics", "2", "--sockets", "8", "--payload", "32", "--rate", "20", "--for", "900ms")
	figures := map[string]any{}
	for _, f := range r.Figures {
		figures[f.Name] = f.Value
	}
	_, lost := figures["broadcasts_ended"]
	if r.Twice+r.Disordered > 0 || r.Lost > 0 && !lost || r.Broken != "" {
		t.Errorf("%+v; %s; %s", r.Check, r.CutBecause, r.Broken)
	}
	if !lost && (r.Deliveries == 0 || r.Latency == nil) {
		t.Errorf("nothing is measured of broadcasts: %+v", r)
	}
	if rows, _ := figures["rows"].(float64); rows != 6 || figures["log_reads_per_row"] == nil {
		t.Errorf("of rows: %v", figures)
	}
}

// TestBenchPresence has a few come to one topic at once, on two nodes, until each knows all.
func TestBenchPresence(t *testing.T) {
	t.Parallel()
	r := bench(t, "presence", "--nodes", "2", "--sockets", "9")
	if !r.Sound() || r.Joins == nil || len(r.Figures) != 3 {
		t.Errorf("%+v; %s; %s", r, r.CutBecause, r.Broken)
	}
}
