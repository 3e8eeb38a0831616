package socket

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
)

// crowd opens connections over loopback TCP that join one topic.
func crowd(b *testing.B, r *rig, n int) []net.Conn {
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
	conns := make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		var out strings.Builder
		req := upgrade("?vsn=2.0.0")
		req.Host = l.Addr().String()
		_ = req.Write(&out)
		const join = `["1","1","room:a","phx_join",{}]`
		out.Write([]byte{0x81, 0x80 | byte(len(join)), 0, 0, 0, 0}) // behind the handshake, masked with zeros
		out.WriteString(join)
		if _, err := io.WriteString(conn, out.String()); err != nil {
			b.Fatal(err)
		}
		conns[i] = conn
	}
	for r.hub.Channels() < int64(n) {
		runtime.Gosched()
	}
	return conns
}

// BenchmarkFanOut routes batches of one topic to many sockets over loopback,
// and waits until they are written. The clients' reading is part of what is
// measured.
func BenchmarkFanOut(b *testing.B) {
	for _, c := range []struct{ sockets, batch int }{{1000, 1}, {1000, 10}, {1000, 100}} {
		b.Run(fmt.Sprintf("sockets=%d/batch=%d", c.sockets, c.batch), func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MailboxBytes = 1 << 30 })
			for _, conn := range crowd(b, r, c.sockets) {
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
			m := channels.Message{Topic: "room:a", Event: "created", Payload: []byte(strings.Repeat(`"12345678"`, 12))}
			written := r.metrics.Counter(metrics.MessagesPushed)
			b.ReportAllocs()
			for b.Loop() {
				target := written.Value() + int64(c.sockets*c.batch)
				r.builder.Start(m.Topic, r.hub.Formats(m.Topic))
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
// do nothing. The clients' ends, in the same process, are part of it.
func BenchmarkIdle(b *testing.B) {
	const sockets = 2000
	for b.Loop() {
		b.StopTimer()
		r := newRig(b, func(c *Config) { c.MailboxBytes = 1 << 30 })
		before := memory()
		conns := crowd(b, r, sockets)
		b.ReportMetric(float64(memory()-before)/sockets, "bytes/socket")
		for _, conn := range conns {
			conn.Close()
		}
		_ = r.stop()
		b.StartTimer()
	}
}

func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
