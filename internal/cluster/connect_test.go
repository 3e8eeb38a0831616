package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// patience is how long something may take before it is taken for missing.
const patience = 5 * time.Minute

// within waits for something to be done.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("after %v still not: %s", patience, what)
	}
}

// becomes waits until something is so.
func becomes(t *testing.T, what string, so func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	late := time.After(patience)
	for !so() {
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

// fakeNATS says as much as a client needs to be connected, and after that what a test wants.
type fakeNATS struct {
	listener net.Listener
	deaf     bool          // it reads nothing more from those that it has greeted
	greeted  chan net.Conn // sent each connection that has been greeted; has room for many
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // guarded by mu: all that there were
}

func newFakeNATS(t *testing.T, deaf bool) *fakeNATS {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeNATS{listener: listener, deaf: deaf, greeted: make(chan net.Conn, 64)}
	f.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, conn)
			f.mu.Unlock()
			f.serving.Go(func() { f.greet(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.mu.Lock()
		for _, conn := range f.conns {
			conn.Close()
		}
		f.mu.Unlock()
		f.serving.Wait()
	})
	return f
}

// greet lets a client in, and says that it is there for as long as it asks.
func (f *fakeNATS) greet(conn net.Conn) {
	fmt.Fprintf(conn, "INFO {\"server_id\":\"fake\",\"version\":\"2.15.3\",\"max_payload\":%d,\"proto\":1}\r\n", 1<<20)
	lines := bufio.NewReader(conn)
	for greeted := false; !greeted || !f.deaf; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasPrefix(line, "PING") {
			continue
		}
		fmt.Fprint(conn, "PONG\r\n")
		if !greeted {
			f.greeted <- conn
			greeted = true
		}
	}
}

// refuse ends all connections that have been greeted so far with an error.
func (f *fakeNATS) refuse(text string) {
	for {
		select {
		case conn := <-f.greeted:
			fmt.Fprintf(conn, "-ERR '%s'\r\n", text)
		default:
			return
		}
	}
}

func outside(url string) Config {
	return Config{
		Self: NewNode("a", "test"), Name: "test", URL: url,
		Installation: func() string { return "1" }, Logger: slog.New(slog.DiscardHandler),
		NodeTimeout: time.Minute, // the fake answers no pings
	}
}

// runBus runs a bus until the function that is returned is called, which waits for its end.
func runBus(t *testing.T, b *NATS) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	var err error
	go func() {
		defer close(ended)
		err = b.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		within(t, "it has left", ended)
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// TestARefusedClientIsReplaced has a NATS end a connection with an error after which nats.go
// does not connect again by itself.
func TestARefusedClientIsReplaced(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{"Authentication Timeout", "Maximum Payload Violation", "whatever comes to be said"} {
		t.Run(refusal, func(t *testing.T) {
			t.Parallel()
			fake := newFakeNATS(t, false)
			b := New(outside("nats://" + fake.listener.Addr().String()))
			stop := runBus(t, b)
			becomes(t, "connected", func() bool { return b.current() != nil && b.Connected() == nil })
			old := b.current()
			becomes(t, "there is another client", func() bool {
				if b.current() != old {
					return true
				}
				fake.refuse(refusal) // the connection that there is, or another that took its place meanwhile
				return false
			})
			becomes(t, "connected and subscribed anew", func() bool {
				b.mu.Lock()
				c, inboxes := b.client, len(b.inboxes)
				b.mu.Unlock()
				return b.Connected() == nil && c.conn.NumSubscriptions() == inboxes
			})
			stop()
		})
	}
}

// TestLeavingAfterTheClientHasEnded has nats.go close before the bus ends.
func TestLeavingAfterTheClientHasEnded(t *testing.T) {
	t.Parallel()
	fake := newFakeNATS(t, false)
	b := New(outside("nats://" + fake.listener.Addr().String()))
	stop := runBus(t, b)
	becomes(t, "there is a client", func() bool { return b.current() != nil })
	c := b.current()
	becomes(t, "nats.go has closed", func() bool {
		select {
		case <-c.closed:
			return true
		default:
			fake.refuse("go away")
			return false
		}
	})
	fake.listener.Close() // so that no other client is let in
	stop()
}

// TestAStalledNATSHoldsUpNobody has nats.go wait with its lock held, as it does while it
// dials and while it writes to a NATS that takes nothing.
func TestAStalledNATSHoldsUpNobody(t *testing.T) {
	t.Parallel()
	real, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	real.Start()
	t.Cleanup(func() { real.Shutdown(); real.WaitForShutdown() })
	if !real.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	b := New(outside(""))
	dialer := &stallingDialer{stalled: make(chan struct{}), release: make(chan struct{})}
	b.url, b.reach = real.ClientURL(), []nats.Option{nats.SetCustomDialer(dialer)}
	b.seal, b.prefix = newSeal(b.members.self, "test", "1", nil), "test."
	if err := b.dial(); err != nil {
		t.Fatal(err)
	}
	becomes(t, "connected", func() bool { return b.Connected() == nil })
	ctx, cancel := context.WithCancel(t.Context())
	var helpers sync.WaitGroup
	helpers.Go(b.send)
	helpers.Go(func() { b.tend(ctx) })
	dialer.cut()
	within(t, "nats.go dials", dialer.stalled)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Connected()
		_ = b.Publish("s", nil)
		_, _ = b.Request(ctx, "0123456789abcdef", "k", nil)
		_ = b.Nodes()
		end, err := b.Subscribe("s", func(Message) {})
		if err != nil {
			t.Error(err)
			return
		}
		b.look()
		end()
	}()
	within(t, "what has nothing to wait for has returned", done)
	close(dialer.release)
	becomes(t, "connected again", func() bool { return b.Connected() == nil })
	c := b.current()
	becomes(t, "subscribed to what is still wanted", func() bool { return c.conn.NumSubscriptions() == len(b.inboxes) })
	cancel()
	b.out.close(nil)
	helpers.Wait()
	b.leave()
}

// stallingDialer connects once, and after that no sooner than it is released.
type stallingDialer struct {
	stalled chan struct{} // closed when somebody waits
	release chan struct{}

	mu    sync.Mutex
	first net.Conn // guarded by mu
}

// Dial implements [nats.CustomDialer].
func (d *stallingDialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	again := d.first != nil
	d.mu.Unlock()
	if again {
		select {
		case <-d.stalled:
		default:
			close(d.stalled)
		}
		<-d.release
	}
	conn, err := net.Dial(network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = conn
	return conn, err
}

func (d *stallingDialer) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first.Close()
}

// TestANATSThatTakesNothingIsLeft has a NATS read nothing more after it has let a client in.
func TestANATSThatTakesNothingIsLeft(t *testing.T) {
	t.Parallel()
	fake := newFakeNATS(t, true)
	b := New(outside("nats://" + fake.listener.Addr().String()))
	stop := runBus(t, b)
	becomes(t, "connected", func() bool { return len(fake.greeted) > 0 })
	data := make([]byte, MaxData)
	becomes(t, "it has connected anew", func() bool {
		_ = b.Publish("s", data) // until more waits than is taken in
		return len(fake.greeted) > 1
	})
	stop()
}

// TestTheFirstConnectionMayFail has the first attempt to reach a NATS fail, be it that of this
// process.
func TestTheFirstConnectionMayFail(t *testing.T) {
	t.Parallel()
	real, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	real.Start()
	t.Cleanup(func() { real.Shutdown(); real.WaitForShutdown() })
	b := New(outside(""))
	b.reach = []nats.Option{nats.InProcessServer(&failingOnce{provider: real})}
	if err := b.dial(); err != nil {
		t.Fatal(err)
	}
	becomes(t, "connected", func() bool { return b.Connected() == nil })
	b.leave()
}

// failingOnce gives connections after the first attempt.
type failingOnce struct {
	provider nats.InProcessConnProvider
	tried    bool // guarded by nats.go's lock, as all that it calls to connect
}

// InProcessConn implements [nats.InProcessConnProvider].
func (f *failingOnce) InProcessConn() (net.Conn, error) {
	if !f.tried {
		f.tried = true
		return nil, errors.New("not yet")
	}
	return f.provider.InProcessConn()
}
