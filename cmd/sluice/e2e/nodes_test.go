package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A cluster is nodes as processes on one database, each on a loopback address of its own and
// all on the same ports, so that one that ends can come back where it was.
type cluster struct {
	names         []string
	public, admin string // ports
	args          []string
	nodes         []*service
}

// clustered runs nodes of these names on a database, and waits until each of them knows all
// of them.
func clustered(t testing.TB, at string, names []string, args ...string) *cluster {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret of all nodes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &cluster{names: names, nodes: make([]*service, len(names))}
	c.public, c.admin = c.freePort(t), c.freePort(t)
	c.args = append(args, "--database-url", at, "--cluster-listen", "127.0.0.1:0", "--cluster-secret-file", secret)
	for i := range names {
		c.begin(t, i)
		if i == 0 {
			c.args = append(c.args, "--cluster-routes", c.nodes[0].listensForNodes(t))
		}
	}
	c.knowEachOther(t)
	return c
}

// givenPorts are those that clusters have been given, of which some may not be in use yet.
var givenPorts sync.Map

// address is that of a node, without a port.
func (c *cluster) address(i int) string { return fmt.Sprintf("127.0.0.%d", i+1) }

// freePort is a port that nobody uses at the addresses of the nodes. It is none of those
// that the kernel gives who asks for any, so that it stays free while a node is away.
func (c *cluster) freePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		port, free := strconv.Itoa(10_000+rand.IntN(20_000)), true
		if _, taken := givenPorts.LoadOrStore(port, true); taken {
			continue
		}
		for i := range c.names {
			free = free && isFree(t, net.JoinHostPort(c.address(i), port))
		}
		if free {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

func isFree(t testing.TB, address string) bool {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	syscall.ForkLock.RLock() // a process that is being started would keep a copy until it runs
	defer syscall.ForkLock.RUnlock()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return true
}

// begin runs a node, and waits until it is ready.
func (c *cluster) begin(t testing.TB, i int) {
	t.Helper()
	c.nodes[i] = runs(t, sluice, append([]string{
		"serve", "--log-format", "json", "--node", c.names[i],
		"--listen", net.JoinHostPort(c.address(i), c.public), "--admin-listen", net.JoinHostPort(c.address(i), c.admin),
	}, c.args...)...).ready(t)
}

// knowEachOther waits until all nodes know all.
func (c *cluster) knowEachOther(t testing.TB) {
	t.Helper()
	for _, s := range c.nodes {
		s.knows(t, c.names...)
	}
}

// listensForNodes is the address at which the cluster's other nodes reach this one.
func (s *service) listensForNodes(t testing.TB) string {
	t.Helper()
	const listens = "listening for the cluster's other nodes"
	s.says(t, listens)
	for line := range strings.Lines(s.stderr.text()) {
		var said struct{ Msg, Addr string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Msg == listens {
			return said.Addr
		}
	}
	t.Fatalf("no address in\n%s", s.stderr.text())
	return ""
}

// knows waits until a service knows the nodes of these names, and no other.
func (s *service) knows(t testing.TB, names ...string) {
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

// count adds up, over all nodes, the values of a metric whose tags contain a text.
func (c *cluster) count(t testing.TB, metric, tag string) (sum int) {
	t.Helper()
	for _, s := range c.nodes {
		_, body := s.get(t, "/metrics")
		sum += counted(t, body, metric, tag)
	}
	return sum
}

// counted adds up the values of a metric whose tags contain a text.
func counted(t testing.TB, metrics, metric, tag string) (sum int) {
	t.Helper()
	line := regexp.MustCompile(`(?m)^` + metric + `\{.*` + tag + `.*\} (\d+)$`)
	for _, found := range line.FindAllStringSubmatch(metrics, -1) {
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
