package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/internal/pgtest"
)

// Three processes on one database find each other by the first one's address. One whose
// own address is taken ends and says so, and one that is stopped is gone for the others.
func TestNodesFindEachOther(t *testing.T) {
	t.Parallel()
	at := pgtest.Schema(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of all nodes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	node := func(name, listen string, args ...string) *service {
		return serve(t, append([]string{"--database-url", at, "--node", name, "--cluster-listen", listen, "--cluster-secret-file", secret}, args...)...)
	}
	a := node("a", "127.0.0.1:0").ready(t)
	const listens = "listening for the cluster's other nodes"
	a.says(t, listens)
	var addr string
	for line := range strings.Lines(a.stderr.text()) {
		var said struct{ Msg, Addr string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == listens {
			addr = said.Addr
		}
	}
	knows := func(s *service, names ...string) {
		t.Helper()
		s.await(t, "/api/nodes", func(status int, body string) bool {
			var list struct{ Nodes []struct{ Name string } }
			if status != 200 || json.Unmarshal([]byte(body), &list) != nil || len(list.Nodes) != len(names) {
				return false
			}
			for i, each := range list.Nodes {
				if each.Name != names[i] {
					return false
				}
			}
			return true
		})
	}
	b, c := node("b", "127.0.0.1:0", "--cluster-routes", addr).ready(t), node("c", "127.0.0.1:0", "--cluster-routes", addr).ready(t)
	for _, each := range []*service{a, b, c} {
		knows(each, "a", "b", "c")
	}
	a.await(t, "/api/stats?nodes=all", func(_ int, body string) bool {
		return strings.Contains(body, `"node":"c"`) && strings.Contains(body, `"unanswered":[]`)
	})
	_, text := b.get(t, "/metrics")
	if !strings.Contains(text, "sluice_cluster_nodes{") {
		t.Errorf("the metrics are %s", text)
	}
	d := node("d", addr)
	if code := d.wait(t); code == 0 || !strings.Contains(d.stderr.text(), "--cluster-listen") {
		t.Errorf("with an address that is in use: status %d\n%s", code, d.stderr.text())
	}
	c.terminate(t)
	if code := c.wait(t); code != 0 {
		t.Errorf("c has ended with %d", code)
	}
	knows(a, "a", "b")
	knows(b, "a", "b")
}
