package socket

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// BenchmarkCompression sends messages of the kind that applications send to many sockets, as
// they are and compressed: bytes on the wire, and CPU time of the process, which is also that of
// the clients that read them, without inflating.
func BenchmarkCompression(b *testing.B) {
	payload := []byte(`{"rows":[`)
	for i := range 8 {
		payload = fmt.Appendf(payload, `{"id":%d,"state":"shipped","total":"%d.90","region":"eu-%d","at":"2026-11-%02dT10:%02d:00Z"},`, 7919*i+12, i*37, i%5, i+1, i)
	}
	payload = append(payload[:len(payload)-1], "]}"...)
	for _, sockets := range []int{1, 100} {
		for _, compress := range []bool{false, true} {
			b.Run(fmt.Sprintf("sockets=%d/compress=%t", sockets, compress), func(b *testing.B) {
				r := newRig(b, func(c *Config) { c.MailboxBytes, c.Compress = 1<<30, compress })
				r.builder = outbound.NewBuilder(phoenix.Encoder{CompressFrom: 256})
				addr := r.listen(b)
				for range sockets {
					conn, err := joinOffering(addr, topicOf(0), "permessage-deflate")
					if err != nil {
						b.Fatal(err)
					}
					b.Cleanup(func() { conn.Close() })
					go func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }(conn)
				}
				r.await(sockets)
				m := outbound.Message{Topic: topicOf(0), Event: "changed", Payload: payload}
				pushed, bytes := r.metrics.Counter(metrics.MessagesPushed), r.metrics.Counter(metrics.BytesPushed)
				before, began := bytes.Value(), cpuTime()
				b.ReportAllocs()
				for b.Loop() {
					target := pushed.Value() + int64(sockets)
					r.builder.Start(r.hub.Watched(m.Topic))
					m.Offset++
					r.hub.Advance(m.Offset)
					_ = r.builder.Add(&m)
					r.hub.Route(r.builder.Segment())
					for pushed.Value() < target {
						runtime.Gosched()
					}
				}
				messages := float64(b.N * sockets)
				b.ReportMetric(float64(bytes.Value()-before)/messages, "wire-B/message")
				b.ReportMetric(float64(cpuTime()-began)/messages, "cpu-ns/message")
			})
		}
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
