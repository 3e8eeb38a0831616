package socket

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestSlowClient stops reading on one connection, and shows that the others do
// not notice.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		wait    time.Duration // before the slow client reads again
		want    []string
		dropped int64 // at least
	}{
		{"that reads again is told why", time.Second, []string{"close 1008"}, 10},
		{"that never reads again is cut", 30 * time.Second, []string{"end"}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *Config) { c.Options.MailboxSize, c.InboundQueue = 10, 10 })
				slow, fast := r.connect(phoenix.Version2), r.connect(phoenix.Version2)
				slow.join("room:a", `{}`)
				fast.join("room:a", `{}`)
				synctest.Wait()
				for i := range 100 {
					r.log("room:a", "created", fmt.Sprint(i))
					fast.want(fmt.Sprintf(`[null,null,"room:a","created",%d]`, i))
				}
				time.Sleep(c.wait) // of the test's own clock
				var last string
				for last = slow.next(); strings.HasPrefix(last, "["); last = slow.next() {
				}
				if last != c.want[0] {
					t.Fatalf("got %s, want %s", last, c.want[0])
				}
				slow.Close()
				synctest.Wait()
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedTooSlow))); n != 1 {
					t.Fatalf("%d sockets closed as too slow", n)
				}
				if n := r.counter(metrics.MessagesDropped, metrics.Reason(string(outbound.DropTooSlow))); n < c.dropped {
					t.Fatalf("%d messages dropped", n)
				}
				if r.hub.Channels() != 1 {
					t.Fatalf("%d channels left", r.hub.Channels())
				}
			})
		})
	}
}

// TestClientThatReadsNoReplies asks and asks.
func TestClientThatReadsNoReplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Options.MailboxSize, c.InboundQueue = 10, 10 })
		c := r.connect(phoenix.Version2)
		for range 30 {
			c.text(beat)
		}
		synctest.Wait()
		var last string
		for last = c.next(); last == beaten; last = c.next() {
		}
		if last != "close 1008" {
			t.Fatal(last)
		}
		c.Close()
	})
}

func TestLongHandlerHoldsUpNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.connect(phoenix.Version2)
		c.join("room:a", `{}`)
		c.join("room:b", `{}`)
		c.text(`["1","2","room:a","wait",{}]`)
		c.text(beat)
		c.want(beaten)
		c.text(`["1","3","room:b","echo",1]`)
		c.want(`["1","3","room:b","phx_reply",{"status":"ok","response":1}]`)
		for i := range channels.DefaultInboundQueue {
			c.text(fmt.Sprintf(`["1","%d","room:a","silent",1]`, i))
		}
		c.text(`["1","9999","room:a","echo",1]`)
		c.want(`["1","9999","room:a","phx_reply",{"status":"error","response":{"reason":"overloaded"}}]`)
		c.Close() // ends the handler's context
		synctest.Wait()
	})
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := r.connect(phoenix.Version2), r.connect(phoenix.Version2)
		if n := r.endpoint.Disconnect("user"); n != 2 {
			t.Fatalf("disconnected %d", n)
		}
		if n := r.endpoint.Disconnect(""); n != 0 {
			t.Fatal("sockets without a name have nothing in common")
		}
		a.want("close 1001")
		b.want("close 1001")
		a.frame(ws.OpClose, true, "\x03\xe9")
		start := time.Now()
		a.want("end")
		if time.Since(start) != 0 {
			t.Fatal("did not end when the client had answered")
		}
		b.want("end")
		if time.Since(start) != closeTimeout {
			t.Fatal("did not wait for the client's answer")
		}
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedByID))); n != 2 || r.endpoint.Sockets() != 0 {
			t.Fatal(n, r.endpoint.Sockets())
		}
	})
}

// TestClientsThatVanish leave nothing behind.
func TestClientsThatVanish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 20 {
			c := r.connect(phoenix.Version2)
			c.join("room:a", `{}`)
			if i%2 == 0 {
				c.text(`["1","2","room:a","wait",{}]`)
			}
			c.Close()
		}
		synctest.Wait()
		if r.hub.Channels() != 0 || r.endpoint.Sockets() != 0 || r.metrics.Gauge(metrics.Sockets).Value() != 0 {
			t.Fatal(r.hub.Channels(), r.endpoint.Sockets())
		}
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedLost))); n != 20 {
			t.Fatalf("%d connections lost", n)
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		clients := make([]*client, 250)
		for i := range clients {
			clients[i] = r.connect(phoenix.Version2)
			clients[i].join("room:a", `{}`)
		}
		r.log("room:a", "created", `{}`)
		start := time.Now()
		told := make(chan time.Duration, len(clients))
		for _, c := range clients {
			go func() {
				c.want(`[null,null,"room:a","created",{}]`, "close 1012") // what is queued comes first
				told <- time.Since(start)
				c.frame(ws.OpClose, true, "\x03\xf4")
				_, _ = io.Copy(io.Discard, c)
			}()
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		batches := make(map[time.Duration]int)
		for range clients {
			batches[<-told]++
		}
		if len(batches) != 3 || batches[0] != drainBatch || batches[2*drainPause] != 50 {
			t.Fatalf("drained in %v", batches)
		}
		if rejected := r.endpoint.reserveAny(); rejected == nil || rejected.status != 503 {
			t.Fatal("accepts connections while draining")
		}
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedDrain))); n != 250 {
			t.Fatal(n)
		}
	})
}

func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.DrainTimeout = 2 * time.Second })
		c := r.connect(phoenix.Version2) // reads nothing
		c.join("room:a", `{}`)
		c.text(`["1","2","room:a","wait",{}]`)
		r.log("room:a", "created", `{}`)
		start := time.Now()
		if err := r.stop(); err == nil || time.Since(start) != 2*time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
	})
}

func TestDrainSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		conns   int
		timeout time.Duration
		want    int
	}{
		{10, 30 * time.Second, drainBatch},
		{8000, 30 * time.Second, drainBatch},
		{300_000, 30 * time.Second, 1000},
		{1000, time.Millisecond, 1000},
	} {
		if got := drainSize(c.conns, c.timeout); got != c.want {
			t.Errorf("%d connections within %s: %d at a time, want %d", c.conns, c.timeout, got, c.want)
		}
	}
}

// TestLargeMessages are written in parts, and by all means whole.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MailboxBytes = 10 << 20 })
		c := r.connect(phoenix.Version2)
		c.join("room:a", `{"after":null}`)
		for _, size := range []int{100, 125, 126, 65535, 65536, writeBytes, 3*writeBytes + 5} {
			payload := `"` + strings.Repeat("x", size) + `"`
			r.log("room:a", "created", payload)
			r.log("room:a", "created", `1`)
			c.want(fmt.Sprintf(`[null,null,"room:a","created",{"offset":%d,"data":%s}]`, r.offset-1, payload),
				fmt.Sprintf(`[null,null,"room:a","created",{"offset":%d,"data":1}]`, r.offset))
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.connect(phoenix.Version2)
		c.join("room:a", `{}`)
		c.text(`["2","2","room:b","phx_join",{"do":"reject"}]`)
		c.next()
		c.text(`["3","3","room:b","phx_join",{"do":"panic"}]`)
		c.next()
		r.log("room:a", "created", `{}`)
		r.log("room:a", "created", `{}`)
		c.next()
		c.next()
		synctest.Wait()
		for _, m := range []struct {
			name metrics.Name
			tags []metrics.Tag
			want int64
		}{
			{metrics.Joins, []metrics.Tag{metrics.Status("ok")}, 1},
			{metrics.Joins, []metrics.Tag{metrics.Status("rejected"), metrics.Reason("handler")}, 1},
			{metrics.Joins, []metrics.Tag{metrics.Status("crashed"), metrics.Reason("panic")}, 1},
			{metrics.StageErrors, []metrics.Tag{metrics.Stage("channel")}, 1},
		} {
			if got := r.counter(m.name, m.tags...); got != m.want {
				t.Errorf("%s %v is %d, want %d", m.name, m.tags, got, m.want)
			}
		}
		if got := r.counter(metrics.MessagesPushed); got != 2 {
			t.Errorf("%d messages pushed", got)
		}
		if got := r.counter(metrics.SocketsOpened, metrics.Transport("websocket")); got != 1 {
			t.Errorf("%d sockets opened", got)
		}
		c.Close()
	})
}

func TestConfig(t *testing.T) {
	t.Parallel()
	valid := newRigConfig(t)
	for name, change := range map[string]func(*Config){
		"Host":            func(c *Config) { c.Host = nil },
		"MailboxSize":     func(c *Config) { c.Options.MailboxSize = -1 },
		"MaxMessageBytes": func(c *Config) { c.MaxMessageBytes = -1 },
		"DrainTimeout":    func(c *Config) { c.DrainTimeout = -1 },
		"Writers":         func(c *Config) { c.Writers = -1 },
		"origin":          func(c *Config) { c.Origins = []string{"example.org"} },
	} {
		config := valid
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func newRigConfig(t *testing.T) Config {
	hub := channels.NewHub(nil)
	host, err := channels.NewHost(channels.HostConfig{Hub: hub, PubSub: channels.NewPubSub(hub, phoenix.Encoder{}), Encoder: phoenix.Encoder{}})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Host: host, Routes: new(channels.Routes)}
}
