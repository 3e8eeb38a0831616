package e2e

import (
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// Three processes on one database find each other by the first one's address. One whose
// own address is taken ends and says so, and one that is stopped is gone for the others.
func TestNodesFindEachOther(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	nodes := clustered(t, at, []string{"a", "b", "c"}).nodes
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.await(t, "/api/stats?nodes=all", func(_ int, body string) bool {
		return strings.Contains(body, `"node":"c"`) && strings.Contains(body, `"unanswered":[]`)
	})
	_, text := b.get(t, "/metrics")
	if !strings.Contains(text, "sluice_cluster_nodes{") {
		t.Errorf("the metrics are %s", text)
	}
	d := serve(t, "--database-url", at, "--node", "d", "--cluster-listen", a.listensForNodes(t))
	if code := d.wait(t); code == 0 || !strings.Contains(d.stderr.text(), "--cluster-listen") {
		t.Errorf("with an address that is in use: status %d\n%s", code, d.stderr.text())
	}
	c.terminate(t)
	if code := c.wait(t); code != 0 {
		t.Errorf("c has ended with %d", code)
	}
	a.knows(t, "a", "b")
	b.knows(t, "a", "b")
}
