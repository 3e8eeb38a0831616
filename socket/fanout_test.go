package socket

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
)

// listen serves the rig's endpoint over loopback TCP.
func (r *rig) listen(b *testing.B) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: r.endpoint}
	go func() { _ = server.Serve(l) }()
	b.Cleanup(func() {
		_ = r.stop()
		server.Close()
	})
	return l.Addr().String()
}

// crowd opens connections over loopback TCP that join one topic.
func (r *rig) crowd(b *testing.B, n int) []net.Conn {
	b.Helper()
	addr := r.listen(b)
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := joinOne(addr, topicOf(0))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		conns[i] = conn
	}
	r.await(n)
	return conns
}

// crowdElsewhere does that from another process, with some topics. It reads all
// that comes.
func (r *rig) crowdElsewhere(b *testing.B, n, topics int) {
	b.Helper()
	crowd := exec.Command(os.Args[0])
	crowd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", crowdEnv, r.listen(b), n, topics))
	crowd.Stderr = os.Stderr
	stdin, err := crowd.StdinPipe()
	if err == nil {
		err = crowd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close() // ends it
		_ = crowd.Wait()
	})
	r.await(n)
}

// await waits until so many channels are joined.
func (r *rig) await(n int) {
	for r.hub.Channels() < int64(n) {
		runtime.Gosched()
	}
}

// crowdEnv makes the test's program one of clients: it says where, how many, and
// how many topics they join.
const crowdEnv = "SLUICE_SOCKET_CROWD"

// beCrowd is that program.
func beCrowd(order string) {
	var addr string
	var n, topics int
	_, err := fmt.Sscan(order, &addr, &n, &topics)
	for i := range n {
		var conn net.Conn
		if conn, err = joinOne(addr, topicOf(i%topics)); err != nil {
			break
		}
		go func() { _, _ = io.Copy(io.Discard, conn) }()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func topicOf(n int) string { return "room:" + strconv.Itoa(n) }

// joinOne connects, and sends a join right behind the handshake.
func joinOne(addr, topic string) (net.Conn, error) { return joinOffering(addr, topic, "") }

// joinOffering is joinOne for a client that offers extensions, "" for none.
func joinOffering(addr, topic, extensions string) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	req := upgrade("?vsn=2.0.0")
	req.Host = addr
	if extensions != "" {
		req.Header.Set(extensionsHeader, extensions)
	}
	_ = req.Write(&out)
	join := `["1","1","` + topic + `","phx_join",{}]`
	out.Write([]byte{0x81, 0x80 | byte(len(join)), 0, 0, 0, 0}) // masked with zeros
	out.WriteString(join)
	_, err = io.WriteString(conn, out.String())
	return conn, err
}

// BenchmarkFanOut routes batches of one topic to many sockets over loopback,
// and waits until they are written. The clients' reading is part of what is
// measured.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct{ sockets, batch int }{{1000, 1}, {1000, 10}, {1000, 100}} {
		b.Run(fmt.Sprintf("sockets=%d/batch=%d", c.sockets, c.batch), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MailboxBytes = 1 << 30 })
			for _, conn := range r.crowd(b, c.sockets) {
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
			m := outbound.Message{Topic: topicOf(0), Event: "created", Payload: []byte(strings.Repeat(`"12345678"`, 12))}
			written := r.metrics.Counter(metrics.MessagesPushed)
			b.ReportAllocs()
			for b.Loop() {
				target := written.Value() + int64(c.sockets*c.batch)
				r.builder.Start(r.hub.Watched(m.Topic))
				for range c.batch {
					m.Offset++
					r.hub.Advance(m.Offset)
					_ = r.builder.Add(&m)
				}
				r.hub.Route(r.builder.Segment())
				for written.Value() < target {
					runtime.Gosched()
				}
			}
			b.ReportMetric(float64(b.N*c.sockets*c.batch)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}

// BenchmarkIdle measures the memory of connections that have joined a topic and
// do nothing. Their clients are another process.
func BenchmarkIdle(b *testing.B) {
	const sockets = 5000
	for b.Loop() {
		r := newRig(b)
		before := memory()
		r.crowdElsewhere(b, sockets, 1)
		b.ReportMetric(float64(memory()-before)/sockets, "bytes/socket")
		_ = r.stop()
	}
}

// memory is what the heap and the stacks take.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
