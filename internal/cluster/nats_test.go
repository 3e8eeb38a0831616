package cluster_test

import (
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/cluster/clustertest"
	"github.com/sluicehq/sluice/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Main(m) }

// patience is how long something may take before it is taken for missing.
const patience = 5 * time.Minute

// unhurried is after how long a silence a node of a test is gone: longer than a machine may
// be too busy to let one speak, and shorter than patience.
const unhurried = time.Minute

const installation = "11111111-1111-4111-8111-111111111111"

var secret = []byte("a secret of all nodes")

// quiet is the configuration of a node that says nothing.
func quiet(name string) cluster.Config {
	return cluster.Config{
		Self:         cluster.NewNode(name, "test"),
		Name:         "test",
		Installation: func() string { return installation },
		Secret:       secret,
		Logger:       slog.New(slog.DiscardHandler),
		NodeTimeout:  unhurried,
	}
}

// inSuite is quiet for a case of the suite: in that which has nodes be cut off, they notice
// as soon as usual.
func inSuite(t *testing.T, name string) cluster.Config {
	c := quiet(name)
	if strings.HasSuffix(t.Name(), "/NodesAreCutOff") {
		c.NodeTimeout = cluster.NodeTimeout
	}
	return c
}

// TestEmbedded has servers of the nodes' own pass the suite, which reach each other
// through proxies, so that they can be cut off.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(t *testing.T) clustertest.Harness {
		var proxies []*proxy
		var routes []string
		// through has a node listen behind a proxy, and connect to those before it.
		through := func(t *testing.T, c cluster.Config) cluster.Bus {
			var bus atomic.Pointer[cluster.NATS]
			p := newProxy(t, func() string { return addrOf(bus.Load()) })
			c.Listen, c.Advertise, c.Routes = "127.0.0.1:0", p.addr(), slices.Clone(routes)
			proxies, routes = append(proxies, p), append(routes, p.addr())
			bus.Store(cluster.New(c))
			return bus.Load()
		}
		return clustertest.Harness{
			Join: func(t *testing.T, name string) cluster.Bus { return through(t, inSuite(t, name)) },
			Strangers: strangers(func(t *testing.T, c cluster.Config) cluster.Bus {
				c.Listen, c.Routes = "127.0.0.1:0", routes
				return cluster.New(c)
			}),
			Cut:  func(*testing.T) { each(proxies, (*proxy).cut) },
			Heal: func(*testing.T) { each(proxies, (*proxy).heal) },
		}
	})
}

// TestOutside has one NATS that is there already pass the suite, which each node reaches
// through a proxy.
func TestOutside(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(t *testing.T) clustertest.Harness {
		outside := startNATS(t, &server.Options{Username: "app", Password: "word"})
		var proxies []*proxy
		join := func(t *testing.T, c cluster.Config) cluster.Bus {
			p := newProxy(t, outside.Addr().String)
			proxies = append(proxies, p)
			c.URL = "nats://app:word@" + p.addr()
			return cluster.New(c)
		}
		return clustertest.Harness{
			Join:      func(t *testing.T, name string) cluster.Bus { return join(t, inSuite(t, name)) },
			Strangers: strangers(join),
			Cut:       func(*testing.T) { each(proxies, (*proxy).cut) },
			Heal:      func(*testing.T) { each(proxies, (*proxy).heal) },
		}
	})
}

// strangers are nodes of another cluster's name, and of another installation.
func strangers(join func(*testing.T, cluster.Config) cluster.Bus) []func(*testing.T) cluster.Bus {
	return []func(*testing.T) cluster.Bus{
		func(t *testing.T) cluster.Bus {
			c := quiet("c")
			c.Name = "other"
			return join(t, c)
		},
		func(t *testing.T) cluster.Bus {
			c := quiet("c")
			c.Installation = func() string { return strings.ReplaceAll(installation, "1", "2") }
			return join(t, c)
		},
	}
}

// startNATS starts a NATS as others do, which ends with the test.
func startNATS(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	if options.Port == 0 {
		options.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// addrOf is where a node listens for others, empty while it does not.
func addrOf(bus *cluster.NATS) string {
	if bus == nil {
		return ""
	}
	if addr := bus.Addr(); addr != nil {
		return addr.String()
	}
	return ""
}

func each[T any](list []T, do func(T)) {
	for _, one := range list {
		do(one)
	}
}

// proxy passes connections on to an address, unless it is cut.
type proxy struct {
	to       func() string
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	cuts  bool              // guarded by mu
	conns map[net.Conn]bool // likewise
}

func newProxy(t *testing.T, to func() string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, listener: listener, conns: map[net.Conn]bool{}}
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(from net.Conn) {
	to, err := net.Dial("tcp", p.to())
	if err != nil {
		from.Close()
		return
	}
	p.mu.Lock()
	if p.cuts {
		p.mu.Unlock()
		from.Close()
		to.Close()
		return
	}
	p.conns[from], p.conns[to] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // it ends with the connection
			way[0].Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = true
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cuts = false
}
