package socket

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// slow is a Channel whose handlers are done when they are let go on.
type slow struct{ free chan struct{} }

func (s slow) Join(*channels.Context, outbound.Payload) (any, error) {
	<-s.free
	return nil, nil
}

func (s slow) HandleIn(*channels.Context, string, outbound.Payload) channels.Result {
	<-s.free
	return channels.OK(nil)
}

// inbound sends, on a connection with a small limit, what no handler is done with, and
// returns how many messages were taken in before reading waited.
func inbound(t *testing.T, r *rig, send func(text string), free chan struct{}, message string) int {
	t.Helper()
	if err := r.endpoint.config.Routes.Handle("slow:*", func() channels.Channel { return slow{free} }); err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int32
	go func() {
		send(`["1","1","slow:a","phx_join",{}]`)
		for i := range 20 {
			send(fmt.Sprintf(message, i))
			sent.Add(1)
		}
	}()
	time.Sleep(time.Second) // of the test's own clock
	synctest.Wait()
	return int(sent.Load())
}

// TestInboundBytesMakeReadingWait sends more than may be inbound, in pushes and in joins that
// replace one another, over both transports: it is read when there is room, and nothing is refused.
func TestInboundBytesMakeReadingWait(t *testing.T) {
	const limit, size = 100 << 10, 30 << 10
	large := strings.Repeat("x", size)
	for name, message := range map[string]string{
		"pushes": `["1","p%d","slow:a","said",{"s":"` + large + `"}]`,
		"joins":  `["1","p%d","slow:a","phx_join",{"s":"` + large + `"}]`,
	} {
		small := func(c *Config) { c.InboundBytes = limit }
		t.Run(name+" over WebSocket", func(t *testing.T) {
			bubble(t, small, func(t *testing.T, r *rig) {
				free := make(chan struct{})
				c := r.connect(phoenix.Version2)
				go func() {
					for c.next() != "end" {
					}
				}()
				if n := inbound(t, r, c.text, free, message); n > 7 { // what is read already waits beside it
					t.Errorf("%d messages of %d bytes were read", n, size)
				}
				if held := c.conn.session.inbound.Held(); held > limit+size+8<<10 {
					t.Errorf("%d bytes are held", held)
				}
				close(free)
				time.Sleep(time.Second) // of the test's own clock
				synctest.Wait()
				if held := c.conn.session.inbound.Held(); held != 0 {
					t.Errorf("%d bytes are held of nothing", held)
				}
				c.Close()
			})
		})
		t.Run(name+" over long-polls", func(t *testing.T) {
			bubble(t, small, func(t *testing.T, r *rig) {
				free := make(chan struct{})
				p := r.poll(phoenix.Version2)
				q := *p
				q.header = make(http.Header)
				go func() {
					for p.get().Status < pollGone {
					}
				}()
				n := inbound(t, r, func(text string) { q.post(text) }, free, message)
				if n > 7 { // each POST that is under way goes beyond by one
					t.Errorf("%d messages of %d bytes were read", n, size)
				}
				close(free)
				time.Sleep(5 * time.Second) // of the test's own clock
				for _, l := range r.endpoint.snapshot() {
					s, _ := l.about()
					if held := s.inbound.Held(); held != 0 {
						t.Errorf("%d bytes are held of nothing", held)
					}
					l.cut(closedByID, outbound.DropClosed)
				}
			})
		})
	}
}

// TestHandlersThatDoNotEnd has reading wait for handlers that wait for their client to go: who
// is not read from, and so not heard, is taken for gone.
func TestHandlersThatDoNotEnd(t *testing.T) {
	bubble(t, func(c *Config) { c.InboundBytes = 1 << 10 }, func(t *testing.T, r *rig) {
		c := r.connect(phoenix.Version2)
		c.join("room:a", `{}`)
		begun := time.Now()
		c.text(`["1","2","room:a","wait",{"s":"` + strings.Repeat("x", 2<<10) + `"}]`)
		c.want("close 1001")
		if took := time.Since(begun); took > 2*r.endpoint.config.HeartbeatTimeout {
			t.Errorf("after %v", took)
		}
		c.Close()
	})
}
