package chaos

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sluicehq/sluice/benchmarks/target"
)

// BusKind is how the nodes of a run hear each other.
type BusKind string

const (
	BusNone   BusKind = "none"   // they share a database, and nothing else
	BusRoutes BusKind = "routes" // servers of their own, each connected with each
	BusNATS   BusKind = "nats"   // a NATS beside them, which the run starts
)

// fewestOnBus is from how many nodes on they have a bus unless the run says otherwise.
const fewestOnBus = 3

// busKind is how the run's nodes hear each other.
func (c *Chaos) busKind() BusKind {
	switch {
	case c.Bus != "":
		return c.Bus
	case c.Nodes >= fewestOnBus:
		return BusRoutes
	}
	return BusNone
}

func (c *Chaos) clustered() bool { return c.busKind() != BusNone }

// bus connects the nodes. All that they say goes through its links.
type bus struct {
	links  []link
	leases []*target.Lease
	nats   *outsideNATS // nil: nodes have servers of their own
	nodes  []busSettings
}

// link is a relay between two nodes, or between a node, both times the same, and NATS.
type link struct {
	*relay
	ends [2]int
}

// busSettings are what a node is told of the bus.
type busSettings struct {
	ClusterListen, ClusterAdvertise, NATSURL, ClusterSecretFile string
	ClusterRoutes                                               []string
}

// flags are the settings as flags of serve.
func (s busSettings) flags() (flags []string) {
	for _, each := range []struct{ flag, value string }{
		{"--cluster-listen", s.ClusterListen}, {"--cluster-advertise", s.ClusterAdvertise}, {"--cluster-routes", strings.Join(s.ClusterRoutes, ",")},
		{"--nats-url", s.NATSURL}, {"--cluster-secret-file", s.ClusterSecretFile},
	} {
		if each.value != "" {
			flags = append(flags, each.flag, each.value)
		}
	}
	return flags
}

// startBus makes the links between so many nodes, which are to be started after it. What
// it has made is to be closed, also after an error.
func startBus(kind BusKind, nodes int, folder string) (b *bus, err error) {
	b = &bus{nodes: make([]busSettings, nodes)}
	if kind == BusNone {
		return b, nil
	}
	secret := filepath.Join(folder, "cluster-secret")
	if err := os.WriteFile(secret, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return b, err
	}
	for i := range b.nodes {
		b.nodes[i].ClusterSecretFile = secret
	}
	if kind == BusNATS {
		return b, b.linkToNATS()
	}
	return b, b.linkNodes()
}

// linkNodes makes a link for each pair of nodes, by which the later one reaches the
// earlier. What they are told of each other's address leads nowhere, so that nothing goes
// past the links.
func (b *bus) linkNodes() error {
	nowhere, err := b.lease()
	if err != nil {
		return err
	}
	for later := range b.nodes {
		settings := &b.nodes[later]
		settings.ClusterAdvertise = nowhere
		if settings.ClusterListen, err = b.lease(); err != nil {
			return err
		}
		for earlier := range later {
			address, err := b.link(b.nodes[earlier].ClusterListen, earlier, later)
			if err != nil {
				return err
			}
			settings.ClusterRoutes = append(settings.ClusterRoutes, address)
		}
	}
	return nil
}

// linkToNATS starts a NATS, and makes a link to it for each node.
func (b *bus) linkToNATS() error {
	address, err := b.lease()
	if err != nil {
		return err
	}
	b.nats = &outsideNATS{address: address}
	if err := b.nats.start(); err != nil {
		return err
	}
	for i := range b.nodes {
		through, err := b.link(address, i, i)
		if err != nil {
			return err
		}
		b.nodes[i].NATSURL = "nats://" + through
	}
	return nil
}

func (b *bus) lease() (address string, err error) {
	lease, err := target.LeaseAddress()
	if err != nil {
		return "", err
	}
	b.leases = append(b.leases, lease)
	return lease.Address, nil
}

func (b *bus) link(to string, ends ...int) (address string, err error) {
	r, err := newRelay(to)
	if err != nil {
		return "", err
	}
	b.links = append(b.links, link{r, [2]int(ends)})
	return r.address(), nil
}

// of are the links of a node.
func (b *bus) of(node int) (some []*relay) {
	for _, l := range b.links {
		if l.ends[0] == node || l.ends[1] == node {
			some = append(some, l.relay)
		}
	}
	return some
}

// some are one link, or all of a node, as whom says.
func (b *bus) some(whom uint64) []*relay {
	if whom%2 == 0 {
		return b.of(int(whom / 2 % uint64(len(b.nodes))))
	}
	one := b.links[whom/2%uint64(len(b.links))]
	return []*relay{one.relay}
}

func (b *bus) all() (all []*relay) {
	for _, l := range b.links {
		all = append(all, l.relay)
	}
	return all
}

// close ends all links. The nodes have ended.
func (b *bus) close() (err error) {
	for _, l := range b.links {
		err = errors.Join(err, l.close())
	}
	if b.nats != nil {
		b.nats.stop()
	}
	for _, lease := range b.leases {
		err = errors.Join(err, lease.Release())
	}
	return err
}

// outsideNATS is a NATS that the nodes share, on the same address whenever it is started.
type outsideNATS struct {
	address string
	server  *server.Server // nil while it is down
}

// natsStarts is how long it may take to listen.
const natsStarts = time.Minute

func (n *outsideNATS) start() (err error) {
	options := &server.Options{NoSigs: true, NoLog: true}
	if _, err := fmt.Sscanf(strings.Replace(n.address, ":", " ", 1), "%s %d", &options.Host, &options.Port); err != nil {
		return fmt.Errorf("start NATS on %s: %w", n.address, err)
	}
	if n.server, err = server.NewServer(options); err != nil {
		return fmt.Errorf("start NATS on %s: %w", n.address, err)
	}
	n.server.Start()
	if !n.server.ReadyForConnections(natsStarts) {
		return fmt.Errorf("benchmarks: NATS does not listen on %s", n.address)
	}
	return nil
}

// stop ends it, if it runs.
func (n *outsideNATS) stop() {
	if n.server == nil {
		return
	}
	n.server.Shutdown()
	n.server.WaitForShutdown()
	n.server = nil
}
