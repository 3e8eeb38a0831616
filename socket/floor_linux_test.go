package socket

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// BenchmarkFloor sends to a thousand sockets, whose clients are another process,
// and in turn with that the same bytes with nothing but a system call for each
// socket. What it reports is processor time, per message and socket.
func BenchmarkFloor(b *testing.B) {
	const sockets = 1000
	for _, c := range []struct {
		name   string
		topics int // that the sockets are spread over
		batch  int // messages of one topic at a time
		times  int // batches of each topic in a row, between those of other topics
	}{
		{"one at a time", 1, 1, 1},
		{"in bulk", 1, 100, 1},
		{"a topic each, one at a time", sockets, 1, 1},
		{"a topic each, in bulk", sockets, 1, 20},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := newRig(b, func(c *Config) { c.MailboxBytes = 1 << 30 })
			r.crowdElsewhere(b, sockets, c.topics)
			var fds []int
			for _, l := range r.endpoint.snapshot() {
				fds = append(fds, l.(*conn).io.(*epollConn).fd)
			}
			m := outbound.Message{Event: "created", Payload: []byte(`"` + strings.Repeat("x", 126) + `"`)}
			var frames []byte
			for range c.batch {
				m.Topic = topicOf(0)
				frames, _ = phoenix.Encoder{}.AppendMessage(frames, phoenix.Version2, &m)
			}
			written := r.metrics.Counter(metrics.MessagesPushed)
			pause := time.NewTicker(100 * time.Microsecond)
			defer pause.Stop()
			var ours, floor time.Duration
			rounds := 0
			for b.Loop() {
				for range 10 {
					start := processorTime()
					target := written.Value() + int64(sockets*c.batch*c.times)
					for range c.times {
						for topic := range c.topics {
							m.Topic = topicOf(topic)
							r.builder.Start(r.hub.Watched(m.Topic))
							for range c.batch {
								m.Offset++
								r.hub.Advance(m.Offset)
								_ = r.builder.Add(&m)
							}
							r.hub.Route(r.builder.Segment())
						}
					}
					for written.Value() < target {
						<-pause.C
					}
					ours += processorTime() - start
					<-pause.C

					start = processorTime()
					for range c.times {
						for _, fd := range fds {
							if n, err := syscall.Write(fd, frames); n != len(frames) {
								b.Fatal(n, err)
							}
						}
					}
					floor += processorTime() - start
					<-pause.C
					rounds++
				}
			}
			per := float64(rounds * sockets * c.batch * c.times)
			b.ReportMetric(float64(ours)/per, "ns/message")
			b.ReportMetric(float64(floor)/per, "floor-ns/message")
			b.ReportMetric(float64(floor)/float64(ours), "of-floor")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what the process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
