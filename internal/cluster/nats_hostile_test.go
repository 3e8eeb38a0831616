package cluster_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/metrics"
)

// node is a running bus of a test, and what it says.
type node struct {
	*cluster.NATS
	stop func() error
	set  *metrics.Set
	log  *lines
}

// lines are a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func run(t testing.TB, c cluster.Config) *node {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{set: set, log: &lines{}}
	c.Metrics, c.Logger = set, slog.New(slog.NewTextHandler(n.log, nil))
	n.NATS = cluster.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = n.stop() })
	return n
}

func (n *node) dropped(reason string) int64 {
	return n.set.Counter(metrics.ClusterDropped, metrics.Reason(reason)).Value()
}

func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(patience)
	for !happened() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

func names(bus cluster.Bus) (names []string) {
	for _, node := range bus.Nodes() {
		names = append(names, node.Name)
	}
	return names
}

func knows(t testing.TB, bus cluster.Bus, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s knows %v", bus.Self().Name, want), func() bool { return slices.Equal(names(bus), want) })
}

// eavesdropper hears all that goes over a NATS, and may say what it likes.
type eavesdropper struct {
	*nats.Conn
	mu    sync.Mutex
	heard []*nats.Msg
}

func eavesdrop(t *testing.T, url string) *eavesdropper {
	t.Helper()
	conn, err := nats.Connect(url, nats.NoEcho())
	if err != nil {
		t.Fatal(err)
	}
	e := &eavesdropper{Conn: conn}
	if _, err := conn.Subscribe(">", func(m *nats.Msg) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
		conn.Close()
		<-closed
	})
	return e
}

func (e *eavesdropper) all() []*nats.Msg {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

func (e *eavesdropper) say(t *testing.T, subject string, data []byte) {
	t.Helper()
	if err := e.Publish(subject, data); err != nil {
		t.Fatal(err)
	}
}

// TestOnlySignedMessagesCount has someone who may use the NATS repeat what nodes say,
// change it, and make up his own.
func TestOnlySignedMessagesCount(t *testing.T) {
	t.Parallel()
	outside := startNATS(t, &server.Options{})
	mallory := eavesdrop(t, outside.ClientURL())
	with := func(name string) cluster.Config {
		c := quiet(name)
		c.URL = outside.ClientURL()
		return c
	}
	a, b := run(t, with("a")), run(t, with("b"))
	knows(t, a, "b")
	knows(t, b, "a")
	var mu sync.Mutex
	heard := map[string]int{}
	if _, err := a.Subscribe("s", func(m cluster.Message) {
		mu.Lock()
		defer mu.Unlock()
		heard[string(m.Data)]++
	}); err != nil {
		t.Fatal(err)
	}
	published := 0
	publish := func() {
		mu.Lock()
		before := len(heard)
		mu.Unlock()
		eventually(t, "heard", func() bool {
			text := fmt.Sprint("word ", published)
			switch err := b.Publish("s", []byte(text)); {
			case errors.Is(err, cluster.ErrAway):
				return false // for a moment
			case err != nil:
				t.Fatal(err)
			}
			published++
			mu.Lock()
			defer mu.Unlock()
			return len(heard) > before
		})
	}
	publish()
	subject := "sluice.test." + installation + ".s"
	var original []byte
	eventually(t, "heard by others", func() bool {
		all := mallory.all()
		i := slices.IndexFunc(all, func(m *nats.Msg) bool { return m.Subject == subject })
		if i >= 0 {
			original = all[i].Data
		}
		return i >= 0
	})
	said := map[string]int64{}
	say := func(reason string, data []byte) {
		mallory.say(t, subject, data)
		said[reason]++
	}
	say("repeated", original)
	for i := 36; i < len(original); i++ {
		changed := bytes.Clone(original)
		changed[i]++
		say("signature", changed)
	}
	for _, version := range []byte{0, 2, 255} {
		changed := bytes.Clone(original)
		changed[2] = version
		say("version", changed)
	}
	unsigned := bytes.Clone(original[:len(original)-32])
	unsigned[3] = 0
	say("unsigned", unsigned)
	say("malformed", nil)
	say("malformed", []byte("garbage"))
	say("malformed", bytes.Repeat([]byte("garbage "), 1<<17))
	elsewhere := bytes.Clone(original)
	elsewhere[4]++
	say("installation", elsewhere)
	for reason, want := range said {
		eventually(t, fmt.Sprintf("%d messages dropped as %s, of %d", want, reason, a.dropped(reason)), func() bool { return a.dropped(reason) >= want })
	}
	// What one node said to all is said to one, and the other way round.
	for _, m := range mallory.all() {
		mallory.say(t, subject, m.Data)
	}
	publish()
	mu.Lock()
	defer mu.Unlock()
	for text, times := range heard {
		if times != 1 || !strings.HasPrefix(text, "word ") {
			t.Errorf("%q was heard %d times", text, times)
		}
	}
	if log := a.log.String(); !strings.Contains(log, "another version") || !strings.Contains(log, "not signed") {
		t.Errorf("its log says %s", log)
	}
	knows(t, a, "b")
}

// TestGoneNodesStayGone has someone repeat all that a node said, which has left, to those
// that knew it and to one that began later.
func TestGoneNodesStayGone(t *testing.T) {
	t.Parallel()
	outside := startNATS(t, &server.Options{})
	mallory := eavesdrop(t, outside.ClientURL())
	with := func(name string) cluster.Config {
		c := quiet(name)
		c.URL = outside.ClientURL()
		return c
	}
	a, b := run(t, with("a")), run(t, with("b"))
	knows(t, a, "b")
	knows(t, b, "a")
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	knows(t, a)
	c := run(t, with("c"))
	knows(t, a, "c")
	knows(t, c, "a")
	recorded := mallory.all()
	seen := make(chan struct{}, 1)
	if _, err := c.Subscribe("s", func(cluster.Message) {
		select {
		case seen <- struct{}{}:
		default:
		}
	}); err != nil {
		t.Fatal(err)
	}
	before := a.dropped("repeated")
	for _, m := range recorded {
		mallory.say(t, m.Subject, m.Data)
	}
	eventually(t, "a has heard it all again", func() bool { return a.dropped("repeated") > before })
	eventually(t, "c hears a", func() bool {
		_ = a.Publish("s", nil)
		select {
		case <-seen:
			return true
		default:
			return false
		}
	})
	if got := append(names(a), names(c)...); !slices.Equal(got, []string{"c", "a"}) {
		t.Errorf("a and c know %v", got)
	}
}

// TestWrongSecretIsNamed has a node with another secret, or none, be told of by both sides.
func TestWrongSecretIsNamed(t *testing.T) {
	t.Parallel()
	outside := startNATS(t, &server.Options{})
	for _, test := range []struct {
		name     string
		secret   []byte
		embedded bool
		one, two string // what the logs say
	}{
		{"embedded, another", []byte("quite another secret"), true, "another node was refused: it has another cluster secret", "this node was refused by another one"},
		{"embedded, none", nil, true, "another node was refused: it has another cluster secret", "this node was refused by another one"},
		{"outside, another", []byte("quite another secret"), false, "signed with another secret", "signed with another secret"},
		{"outside, none", nil, false, "not signed", "signed with another secret"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			one, two := quiet("one"), quiet("two")
			one.Name = strings.NewReplacer(" ", "-", ",", "").Replace(test.name)
			two.Name, two.Secret = one.Name, test.secret
			if test.embedded {
				one.Listen, two.Listen = "127.0.0.1:0", "127.0.0.1:0"
			} else {
				one.URL, two.URL = outside.ClientURL(), outside.ClientURL()
			}
			a := run(t, one)
			if test.embedded {
				eventually(t, "listening", func() bool { return addrOf(a.NATS) != "" })
				two.Routes = []string{addrOf(a.NATS)}
			}
			b := run(t, two)
			eventually(t, "told by the one", func() bool { return strings.Contains(a.log.String(), test.one) })
			eventually(t, "told by the other", func() bool { return strings.Contains(b.log.String(), test.two) })
			if len(a.Nodes())+len(b.Nodes()) > 0 {
				t.Errorf("they know %v and %v", a.Nodes(), b.Nodes())
			}
			for _, log := range []string{a.log.String(), b.log.String()} {
				if strings.Contains(log, string(secret)) || strings.Contains(log, "sluice:") {
					t.Errorf("a secret is in the log: %s", log)
				}
			}
		})
	}
}

// TestAddressInUseIsAnError has another program listen where the node is to.
func TestAddressInUseIsAnError(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, addr := range []string{taken.Addr().String(), "192.0.2.1:4002", "nowhere"} {
		c := quiet("a")
		c.Listen = addr
		wrong := new(cluster.ListenError)
		if err := cluster.New(c).Run(t.Context()); !errors.As(err, &wrong) || wrong.Addr != addr {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// TestNATSMayComeLater starts nodes before the NATS that connects them.
func TestNATSMayComeLater(t *testing.T) {
	t.Parallel()
	first := startNATS(t, &server.Options{})
	p := newProxy(t, first.Addr().String)
	p.cut()
	with := func(name string) cluster.Config {
		c := quiet(name)
		c.URL = "nats://" + p.addr()
		return c
	}
	a, b := run(t, with("a")), run(t, with("b"))
	if err := a.Connected(); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("without a NATS: %v", err)
	}
	if err := a.Publish("s", nil); !errors.Is(err, cluster.ErrAway) {
		t.Errorf("without a NATS: %v", err)
	}
	p.heal()
	knows(t, a, "b")
	knows(t, b, "a")
}

// TestNameIsTold has two nodes of one name.
func TestNameIsTold(t *testing.T) {
	t.Parallel()
	outside := startNATS(t, &server.Options{})
	one, two := quiet("same"), quiet("same")
	one.URL, two.URL = outside.ClientURL(), outside.ClientURL()
	for _, n := range []*node{run(t, one), run(t, two)} {
		eventually(t, "told", func() bool { return strings.Contains(n.log.String(), "has this node's name") })
	}
}

// TestCertificatesAreChecked has nodes whose certificates the CA has signed meet, and one of
// another CA be refused.
func TestCertificatesAreChecked(t *testing.T) {
	t.Parallel()
	ours, theirs := newCA(t), newCA(t)
	with := func(name string, ca *authority, routes ...string) cluster.Config {
		c := quiet(name)
		c.Listen, c.Routes, c.TLS = "127.0.0.1:0", routes, ca.config(t)
		return c
	}
	a := run(t, with("a", ours))
	eventually(t, "listening", func() bool { return addrOf(a.NATS) != "" })
	b, c := run(t, with("b", ours, addrOf(a.NATS))), run(t, with("c", theirs, addrOf(a.NATS)))
	plain := quiet("d")
	plain.Listen, plain.Routes = "127.0.0.1:0", []string{addrOf(a.NATS)}
	d := run(t, plain)
	knows(t, a, "b")
	knows(t, b, "a")
	eventually(t, "told", func() bool {
		return strings.Contains(a.log.String(), "TLS with another node failed") && strings.Contains(c.log.String(), "TLS with another node failed")
	})
	if got := slices.Concat(names(a), names(b), names(c), names(d)); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("known are %v", got)
	}
}

// authority is a CA for one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newCA(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// config is that of a node for both sides, with a certificate for 127.0.0.1.
func (a *authority) config(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}
}
