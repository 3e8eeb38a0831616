package socket

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// carried runs a test with each way to carry a connection, over TCP.
func carried(t *testing.T, test func(t *testing.T, dial dialer)) {
	t.Parallel()
	for name, wrap := range map[string]func(*net.TCPConn) net.Conn{
		"as it comes": func(c *net.TCPConn) net.Conn { return c },
		"by goroutines": func(c *net.TCPConn) net.Conn {
			return struct{ net.Conn }{c} // what it is cannot be told
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			test(t, dialer{l, wrap})
		})
	}
}

// dialer makes connections.
type dialer struct {
	net.Listener
	wrap func(*net.TCPConn) net.Conn
}

// pair is both ends of a connection.
func (d dialer) pair(t testing.TB) (here, there *net.TCPConn) {
	t.Helper()
	dialled, err := net.Dial("tcp", d.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := d.Accept() // in the order of dialling
	if err != nil {
		t.Fatal(err)
	}
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// connect opens a connection of a rig. For a test with one connection at a time.
func (d dialer) connect(r *rig, adjust ...func(here, there *net.TCPConn)) *client {
	r.t.Helper()
	here, there := d.pair(r.t)
	for _, f := range adjust {
		f(here, there)
	}
	return r.attach(phoenix.Version2, &channels.Socket{ID: "user"}, here, d.wrap(there))
}

// tight leaves the kernel as little room to write as it allows, and not much to
// read: with less, the connection crawls.
func tight(here, there *net.TCPConn) {
	_ = here.SetReadBuffer(32 << 10)
	_ = there.SetWriteBuffer(1)
}

// ends waits until all connections of the rig have ended, and checks why.
func (r *rig) ends(reason closeReason, n int64) {
	r.t.Helper()
	until(r.t, "all connections have ended", func() bool { return r.endpoint.Sockets() == 0 })
	if got := r.counter(metrics.SocketsClosed, metrics.Reason(string(reason))); got != n {
		r.t.Fatalf("%d sockets closed for %s, want %d", got, reason, n)
	}
}

func TestCarriedFrames(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		for _, c := range frameCases {
			r := newPatientRig(t, func(c *Config) { c.MaxMessageBytes = frameLimit })
			cl := dial.connect(r)
			c.send(cl)
			for _, want := range c.want {
				if got := cl.next(); got != want {
					t.Fatalf("%s: got %s, want %s", c.name, got, want)
				}
			}
			if c.reason == "" {
				cl.text(beat)
				cl.want(beaten)
				continue
			}
			cl.Close()
			r.ends(c.reason, 1)
		}
	})
}

// TestCarriedInPieces sends frames byte by byte, and many in one piece.
func TestCarriedInPieces(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		r := newPatientRig(t, func(c *Config) { c.Options.MailboxSize = 10_000 })
		c := dial.connect(r)
		c.join("room:a", `{}`)
		masked := func(op ws.OpCode, fin bool, payload string) string {
			f := ws.MaskFrameInPlaceWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{9, 8, 7, 6})
			return string(ws.MustCompileFrame(f))
		}
		long := fmt.Sprintf(`["1","2","room:a","echo",%q]`, strings.Repeat("long ", 12_000))
		answer := strings.Replace(strings.Replace(long, "echo\",", `phx_reply",{"status":"ok","response":`, 1), "]", "}]", 1)
		cut := masked(ws.OpText, false, beat[:7]) + masked(ws.OpPing, true, "mid") + masked(ws.OpContinuation, true, beat[7:])
		for _, b := range []byte(cut) {
			c.raw(string([]byte{b}))
		}
		c.want("pong mid", beaten)
		c.raw(cut + masked(ws.OpText, true, long) + cut)
		c.want("pong mid", beaten)
		got := []string{c.next(), c.next(), c.next()}
		slices.Sort(got) // the channel answers in its own time
		if want := []string{answer, beaten, "pong mid"}; !slices.Equal(got, want) {
			t.Fatalf("got %.100q", got)
		}
		const many = 5000
		go c.raw(strings.Repeat(masked(ws.OpText, true, beat), many))
		for range many {
			c.want(beaten)
		}
	})
}

// TestCarriedToSlowReaders has clients that leave the kernel no room: each write
// is a part of a frame, and nobody else waits.
func TestCarriedToSlowReaders(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		r := newPatientRig(t, func(c *Config) {
			c.Options.MailboxSize, c.MailboxBytes, c.Writers = 1000, 64<<20, 1
		})
		slow, fast := dial.connect(r, tight), dial.connect(r)
		slow.join("room:a", `{}`)
		fast.join("room:a", `{}`)
		random := rand.New(rand.NewPCG(1, 2))
		var sent []string
		for i := range 200 {
			size := random.IntN(100)
			if i%10 == 0 {
				size = random.IntN(3 * turnBytesOrSo)
			}
			payload := fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", size))
			r.log("room:a", "created", payload)
			sent = append(sent, fmt.Sprintf(`[null,null,"room:a","created",%s]`, payload))
			fast.want(sent[i])
		}
		slow.want(sent...)
		slow.text(beat)
		slow.want(beaten)
	})
}

// turnBytesOrSo is about what a connection is written at a time, on any system.
const turnBytesOrSo = 64 << 10

func TestCarriedToClientThatNeverReads(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		r := newPatientRig(t, func(c *Config) { c.WriteTimeout, c.MailboxBytes = 50*time.Millisecond, 64<<20 })
		c := dial.connect(r, tight)
		c.text(`["1","1","room:a","phx_join",{}]`)
		if c.next() != "end" { // a busy machine may take longer than that to write the answer
			r.log("room:a", "created", `"`+strings.Repeat("x", 1<<20)+`"`)
		}
		r.ends(closedTooSlow, 1)
	})
}

// TestCarriedToClientThatIsTooSlow overflows a mailbox: what is being written is
// written on, and then the client is told why.
func TestCarriedToClientThatIsTooSlow(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		r := newPatientRig(t, func(c *Config) { c.Options.MailboxSize = 10 })
		c := dial.connect(r, tight)
		c.join("room:a", `{}`)
		closed := metrics.Reason(string(outbound.DropTooSlow))
		for r.counter(metrics.MessagesDropped, closed) == 0 {
			r.log("room:a", "created", `"`+strings.Repeat("x", 20_000)+`"`)
		}
		last := c.next()
		for strings.HasPrefix(last, "[") {
			last = c.next()
		}
		if last != "close 1008" {
			t.Fatal(last)
		}
		c.frame(ws.OpClose, true, "\x03\xf0")
		c.want("end")
		r.ends(closedTooSlow, 1)
	})
}

func TestCarriedInSilence(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		const timeout = 50 * time.Millisecond
		r := newPatientRig(t, func(c *Config) { c.HeartbeatTimeout = timeout })
		start := time.Now()
		polite := dial.connect(r)
		before, heard, got := start, start, beaten
		for got == beaten && heard.Sub(start) < 3*timeout {
			at := time.Now()
			polite.text(beat) // pings would be paced
			if got = polite.next(); got == beaten {
				before, heard = heard, at
			}
		}
		if got == beaten {
			got = polite.next()
		}
		// A loop dates all that it reads in a turn from when that began, which may be before
		// the last of it was sent, and is after what it had answered before.
		if since := time.Since(before); got != "close 1001" || since < timeout {
			t.Fatalf("%s, %s after the last sign of life but one", got, since)
		}
		polite.frame(ws.OpClose, true, "\x03\xe9")
		_ = polite.Conn.(*net.TCPConn).CloseWrite()
		polite.want("end")
		r.ends(closedSilent, 1)

		r = newPatientRig(t, func(c *Config) { c.HeartbeatTimeout, c.closeTimeout = timeout, timeout })
		mute := dial.connect(r)
		got = mute.next()
		if got == "close 1001" { // on a busy machine it may take longer to write that than there is time to answer it
			got = mute.next()
		}
		if got != "end" { // all the same, when its time to answer is over
			t.Fatal(got)
		}
		r.ends(closedSilent, 1)
	})
}

func TestCarriedEnds(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		for _, c := range []struct {
			name   string
			end    func(r *rig, c *client)
			want   []string
			reason closeReason
		}{
			{"half-close", func(_ *rig, c *client) { _ = c.Conn.(*net.TCPConn).CloseWrite() }, []string{"end"}, closedLost},
			{"close", func(_ *rig, c *client) { c.Close() }, nil, closedLost},
			{"half a frame, and then close", func(_ *rig, c *client) { c.raw("\x81\x85\x01"); c.Close() }, nil, closedLost},
			{"reset", func(_ *rig, c *client) { _ = c.Conn.(*net.TCPConn).SetLinger(0); c.Close() }, nil, closedLost},
			{"a close frame and all that comes behind", func(_ *rig, c *client) {
				c.frame(ws.OpClose, true, "\x03\xe8")
				_, _ = c.Write(make([]byte, 100_000)) // may find that the connection has ended
			}, nil, closedByClient},
			{"a close frame and half-close", func(_ *rig, c *client) {
				c.frame(ws.OpClose, true, "\x03\xe8")
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}, []string{"close 1000", "end"}, closedByClient},
			{"a protocol error and half-close", func(_ *rig, c *client) {
				c.raw("\x81\x00")
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}, []string{"close 1002", "end"}, closedProtocol},
			{"a protocol error and all that comes behind", func(_ *rig, c *client) {
				c.raw("\x81\x00" + strings.Repeat("x", 1<<20))
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}, []string{"close 1002", "end"}, closedProtocol},
			{"disconnected, and the client answers", func(r *rig, c *client) {
				r.endpoint.Disconnect("user")
				c.want("close 1001")
				c.text(beat) // too late
				c.frame(ws.OpClose, true, "\x03\xe9")
			}, []string{"end"}, closedByID},
			{"disconnected, and the client does not answer", func(r *rig, c *client) {
				r.endpoint.Disconnect("user")
				c.want("close 1001")
				_ = c.Conn.(*net.TCPConn).CloseWrite()
			}, []string{"end"}, closedByID},
			{"cut", func(_ *rig, c *client) { c.conn.cut(closedDrain, outbound.DropClosed) }, nil, closedDrain},
			{"drained", func(r *rig, c *client) {
				drained := make(chan error, 1)
				go func() { drained <- r.stop() }()
				c.want("close 1012")
				c.frame(ws.OpClose, true, "\x03\xf4")
				if err := <-drained; err != nil {
					r.t.Error(err)
				}
			}, []string{"end"}, closedDrain},
		} {
			r := newPatientRig(t)
			cl := dial.connect(r)
			cl.join("room:a", `{}`)
			cl.text(`["1","2","room:a","wait",{}]`) // a handler that ends with the connection
			c.end(r, cl)
			for _, want := range c.want {
				if got := cl.next(); got != want {
					t.Errorf("%s: got %s, want %s", c.name, got, want)
				}
			}
			r.ends(c.reason, 1)
			if n := r.hub.Channels(); n != 0 {
				t.Errorf("%s: %d channels left", c.name, n)
			}
			_ = r.stop()
		}
	})
}

// TestCarriedAtARate sends too much, and shows that nobody else waits.
func TestCarriedAtARate(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		const rate, messages = 50, 75
		r := newPatientRig(t, func(c *Config) { c.InboundRate, c.Writers = rate, 1 })
		hasty, calm := dial.connect(r), dial.connect(r)
		start := time.Now()
		for range messages {
			hasty.text(beat)
		}
		hasty.frame(ws.OpPing, true, "last")
		calm.text(beat)
		calm.want(beaten)
		for range messages {
			hasty.want(beaten)
		}
		hasty.want("pong last")
		if took := time.Since(start); took < (messages-rate-1)*time.Second/rate {
			t.Fatalf("%d messages at %d a second were read in %s", messages, rate, took)
		}
		hasty.text(strings.Repeat(" ", 1000) + beat)
		_ = hasty.Conn.(*net.TCPConn).SetLinger(0)
		hasty.Close() // while it may not send
		calm.Close()
		r.ends(closedLost, 2)
	})
}

// TestCarriedRenewal renews access by a hook that takes as long as it likes.
func TestCarriedRenewal(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		asked, judged := make(chan struct{}), make(chan struct{})
		r := newPatientRig(t, func(c *Config) {
			c.Writers = 1
			c.Renew = func(_ context.Context, old *channels.Socket, _ string) (*channels.Socket, error) {
				close(asked)
				<-judged
				return old, nil
			}
		})
		renewing, other := dial.connect(r), dial.connect(r)
		renewing.join("room:a", `{}`)
		renewing.text(`["1","2","room:a","access_token",{"access_token":"x"}]`)
		renewing.text(beat)
		<-asked
		other.text(beat)
		other.want(beaten)
		close(judged)
		renewing.want(`["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`, beaten)
	})
}

// TestCarriedStorm has connections come and go in every way at once, so that
// descriptors are used again and again, and shows that each gets what is its
// own.
func TestCarriedStorm(t *testing.T) {
	carried(t, func(t *testing.T, dial dialer) {
		r := newPatientRig(t, func(c *Config) { c.Options.MailboxSize = 1 << 20 })
		var accepting sync.Mutex // so that both ends are of the same connection
		var serial atomic.Int64
		once := func(random *rand.Rand) {
			accepting.Lock()
			here, there := dial.pair(t)
			accepting.Unlock()
			n := serial.Add(1)
			c := r.attach(phoenix.Version2, &channels.Socket{ID: fmt.Sprint(n)}, here, dial.wrap(there))
			defer here.Close()
			topic := fmt.Sprintf("room:%d", n)
			c.join(topic, `{}`)
			c.join("room:all", `{}`)
			c.text(fmt.Sprintf(`["1","2",%q,"push",{"n":%d}]`, topic, n))
			for {
				got := c.next()
				if strings.Contains(got, `"room:all"`) {
					continue
				}
				if want := fmt.Sprintf(`["1",null,%q,"pushed",{"n":%d}]`, topic, n); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				break
			}
			switch random.IntN(6) {
			case 0:
				_ = here.SetLinger(0)
			case 1:
				_ = here.CloseWrite()
				_, _ = io.Copy(io.Discard, here)
			case 2:
				c.frame(ws.OpClose, true, "\x03\xe8")
				_, _ = io.Copy(io.Discard, here)
			case 3:
				if r.endpoint.Disconnect(fmt.Sprint(n)) != 1 {
					t.Error("not there to be disconnected")
				}
			case 4:
				c.conn.cut(closedLost, outbound.DropClosed)
				_, _ = io.Copy(io.Discard, here)
			}
		}
		var group sync.WaitGroup
		for worker := range uint64(8) {
			group.Go(func() {
				random := rand.New(rand.NewPCG(worker, 0))
				for range 40 {
					once(random)
				}
			})
		}
		stop := make(chan struct{}) // closed when the storm is over
		var casting sync.WaitGroup
		casting.Go(func() {
			beat := time.NewTicker(time.Millisecond)
			defer beat.Stop()
			for {
				select {
				case <-stop:
					return
				case <-beat.C:
					_ = r.pubsub.Broadcast(&outbound.Message{Topic: "room:all", Event: "e", Payload: []byte("1")}, nil)
				}
			}
		})
		group.Wait()
		close(stop)
		casting.Wait()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if r.endpoint.Sockets() != 0 || r.hub.Channels() != 0 {
			t.Fatalf("%d sockets, %d channels left", r.endpoint.Sockets(), r.hub.Channels())
		}
	})
}
