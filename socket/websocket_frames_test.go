package socket

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

const (
	beat   = `[null,"1","phoenix","heartbeat",{}]`
	beaten = `[null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]`
)

// frameCases are what stock clients never send: RFC 6455 rules what comes back.
// A message may have frameLimit bytes.
var frameCases = []struct {
	name   string
	send   func(c *client)
	want   []string
	reason closeReason // empty: the connection stays open
}{
	{"5.4 fragments", func(c *client) {
		c.frame(ws.OpText, false, beat[:5])
		c.frame(ws.OpContinuation, false, "")
		c.frame(ws.OpContinuation, false, beat[5:9])
		c.frame(ws.OpContinuation, true, beat[9:])
	}, []string{beaten}, ""},
	{"5.4 control frames between fragments", func(c *client) {
		c.frame(ws.OpText, false, beat[:5])
		c.frame(ws.OpPing, true, "mid")
		c.frame(ws.OpPong, true, "unasked")
		c.frame(ws.OpContinuation, true, beat[5:])
	}, []string{"pong mid", beaten}, ""},
	{"5.4 a new message between fragments", func(c *client) {
		c.frame(ws.OpText, false, beat[:5])
		c.frame(ws.OpText, true, beat)
	}, []string{"close 1002"}, closedProtocol},
	{"5.4 a continuation of nothing", func(c *client) { c.frame(ws.OpContinuation, true, beat) },
		[]string{"close 1002"}, closedProtocol},
	{"5.5.2 ping", func(c *client) { c.frame(ws.OpPing, true, "") }, []string{"pong "}, ""},
	{"5.5.2 ping with all that it may carry", func(c *client) { c.frame(ws.OpPing, true, strings.Repeat("p", 125)) },
		[]string{"pong " + strings.Repeat("p", 125)}, ""},
	{"5.5 a control frame too long", func(c *client) { c.frame(ws.OpPing, true, strings.Repeat("p", 126)) },
		[]string{"close 1002"}, closedProtocol},
	{"5.5 a control frame in fragments", func(c *client) { c.frame(ws.OpPing, false, "p") },
		[]string{"close 1002"}, closedProtocol},
	{"5.1 no mask", func(c *client) { c.raw("\x81\x02[]") }, []string{"close 1002"}, closedProtocol},
	{"5.3 a mask of zeros", func(c *client) { c.raw("\x81" + string([]byte{0x80 | byte(len(beat))}) + "\x00\x00\x00\x00" + beat) },
		[]string{beaten}, ""},
	{"5.2 reserved bits", func(c *client) { c.raw("\xc1\x80\x00\x00\x00\x00") }, []string{"close 1002"}, closedProtocol},
	{"5.2 reserved data opcode", func(c *client) { c.raw("\x83\x80\x00\x00\x00\x00") }, []string{"close 1002"}, closedProtocol},
	{"5.2 reserved control opcode", func(c *client) { c.raw("\x8b\x80\x00\x00\x00\x00") }, []string{"close 1002"}, closedProtocol},
	{"5.2 a negative length", func(c *client) { c.raw("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00") },
		[]string{"close 1002"}, closedProtocol},
	{"5.2 a length of 125 in two bytes", func(c *client) { c.raw("\x81\xfe\x00\x7d\x00\x00\x00\x00") },
		[]string{"close 1002"}, closedProtocol},
	{"5.2 a length of 126 in two bytes", func(c *client) {
		c.raw("\x81\xfe\x00\x7e\x00\x00\x00\x00" + beat + strings.Repeat(" ", 126-len(beat)))
	}, []string{beaten}, ""},
	{"5.2 a length of 125 in eight bytes", func(c *client) { c.raw("\x81\xff\x00\x00\x00\x00\x00\x00\x00\x7d\x00\x00\x00\x00") },
		[]string{"close 1002"}, closedProtocol},
	{"5.2 a length of 65535 in eight bytes", func(c *client) { c.raw("\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00\x00\x00") },
		[]string{"close 1002"}, closedProtocol},
	{"5.2 a length of 65536 in eight bytes, too large all the same", func(c *client) { c.raw("\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00") },
		[]string{"close 1009"}, closedTooLarge},
	{"5.2 a ping's length in two bytes", func(c *client) { c.raw("\x89\xfe\x00\x01\x00\x00\x00\x00p") },
		[]string{"close 1002"}, closedProtocol},
	{"5.5.1 close", func(c *client) { c.frame(ws.OpClose, true, "") }, []string{"close", "end"}, closedByClient},
	{"5.5.1 close with a code", func(c *client) { c.frame(ws.OpClose, true, "\x03\xe8bye") },
		[]string{"close 1000", "end"}, closedByClient},
	{"5.5.1 close with a code of the application's", func(c *client) { c.frame(ws.OpClose, true, "\x0f\xa0") },
		[]string{"close 4000", "end"}, closedByClient},
	{"7.4.1 close with a code that came later: 1012", func(c *client) { c.frame(ws.OpClose, true, "\x03\xf4") },
		[]string{"close 1012", "end"}, closedByClient},
	{"7.4.1 close with a code that came later: 1013", func(c *client) { c.frame(ws.OpClose, true, "\x03\xf5later") },
		[]string{"close 1013", "end"}, closedByClient},
	{"7.4.1 close with a code that came later: 1014", func(c *client) { c.frame(ws.OpClose, true, "\x03\xf6") },
		[]string{"close 1014", "end"}, closedByClient},
	{"7.4.1 close with a code that must not be sent either: 1015", func(c *client) { c.frame(ws.OpClose, true, "\x03\xf7") },
		[]string{"close 1002"}, closedProtocol},
	{"7.4.1 close with a later code and no text", func(c *client) { c.frame(ws.OpClose, true, "\x03\xf4\xff") },
		[]string{"close 1002"}, closedProtocol},
	{"7.4.1 close with half a code", func(c *client) { c.frame(ws.OpClose, true, "\x03") }, []string{"close 1002"}, closedProtocol},
	{"7.4.1 close with a code that must not be sent", func(c *client) { c.frame(ws.OpClose, true, "\x03\xed") },
		[]string{"close 1002"}, closedProtocol},
	{"7.4.2 close with a code that is none", func(c *client) { c.frame(ws.OpClose, true, "\x00\x01") },
		[]string{"close 1002"}, closedProtocol},
	{"8.1 close with a reason that is no text", func(c *client) { c.frame(ws.OpClose, true, "\x03\xe8\xff") },
		[]string{"close 1002"}, closedProtocol},
	{"8.1 invalid UTF-8", func(c *client) { c.text("[\"\xff\"]") }, []string{"close 1007"}, closedUTF8},
	{"8.1 a character split over fragments", func(c *client) {
		const s = `[null,"ü","phoenix","heartbeat",{}]`
		at := strings.Index(s, "ü") + 1
		c.frame(ws.OpText, false, s[:at])
		c.frame(ws.OpContinuation, true, s[at:])
	}, []string{`[null,"ü","phoenix","phx_reply",{"status":"ok","response":{}}]`}, ""},
	{"the largest message", func(c *client) {
		c.text(`[null,"1","phoenix","heartbeat","` + strings.Repeat("x", 1000-len(beat)) + `"]`)
	}, []string{beaten}, ""},
	{"a message too large", func(c *client) {
		c.raw("\x81\xfe\x03\xe9\x00\x00\x00\x00") // 1001 bytes announced
	}, []string{"close 1009"}, closedTooLarge},
	{"fragments that add up to too much", func(c *client) {
		c.frame(ws.OpText, false, strings.Repeat(" ", 600))
		c.raw("\x80\xfe\x01\x91\x00\x00\x00\x00") // 401 bytes announced
	}, []string{"close 1009"}, closedTooLarge},
	{"malformed: no JSON", func(c *client) { c.text(`[1,`) }, []string{"close 1011"}, closedMalformed},
	{"malformed: empty", func(c *client) { c.text(``) }, []string{"close 1011"}, closedMalformed},
	{"malformed: too few elements", func(c *client) { c.text(`[null,"1","phoenix","heartbeat"]`) },
		[]string{"close 1011"}, closedMalformed},
	{"malformed: an object", func(c *client) { c.text(`{"topic":"phoenix"}`) }, []string{"close 1011"}, closedMalformed},
	{"malformed: a ref that is none", func(c *client) { c.text(`[null,{},"phoenix","heartbeat",{}]`) },
		[]string{"close 1011"}, closedMalformed},
	{"malformed: binary", func(c *client) { c.frame(ws.OpBinary, true, "\x00\xff\x00\x00\x00") },
		[]string{"close 1011"}, closedMalformed},
}

const frameLimit = 1000

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, c := range frameCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, func(c *Config) { c.MaxMessageBytes = frameLimit })
				cl := r.connect(phoenix.Version2)
				go c.send(cl)
				cl.want(c.want...)
				if c.reason == "" {
					synctest.Wait()
					cl.text(beat)
					cl.want(beaten)
					return
				}
				cl.Close()
				synctest.Wait()
				if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(c.reason))); n != 1 {
					t.Fatalf("%d sockets closed for %s", n, c.reason)
				}
			})
		})
	}
}

func TestHeartbeatTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		c := r.connect(phoenix.Version2)
		for range 3 {
			time.Sleep(59 * time.Second) // in the bubble's time
			c.text(beat)
			c.want(beaten)
		}
		for _, op := range []ws.OpCode{ws.OpPong, ws.OpPong, ws.OpPing} { // signs of life, too
			time.Sleep(59 * time.Second) // of the test's own clock
			c.frame(op, true, "")
		}
		c.want("pong ")
		start := time.Now()
		c.want("close 1001")
		if after := time.Since(start); after != 60*time.Second {
			t.Fatalf("closed after %s", after)
		}
		c.want("end") // although the client does not answer
		if after := time.Since(start); after != 60*time.Second+closeTimeout {
			t.Fatalf("ended after %s", after)
		}
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedSilent))); n != 1 {
			t.Fatal(n)
		}
	})
}

func TestMessageThatTrickles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t).connect(phoenix.Version2)
		trickled := make(chan struct{}) // closed by the goroutine when the connection has ended
		go func() {
			defer close(trickled)
			for {
				if _, err := c.Write([]byte{0x81}); err != nil {
					return
				}
				time.Sleep(50 * time.Second) // of the test's own clock
			}
		}()
		start := time.Now()
		if got := c.next(); !strings.HasPrefix(got, "close") {
			t.Fatal(got)
		}
		if after := time.Since(start); after > time.Minute {
			t.Fatalf("closed after %s", after)
		}
		c.Close()
		<-trickled
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x81\x82\x00\x00\x00\x00[]"))
	f.Add([]byte("\x01\x81\x01\x02\x03\x04x\x89\x80\x00\x00\x00\x00\x80\x81\x00\x00\x00\x00]"))
	f.Add([]byte("\x88\x82\x00\x00\x00\x00\x03\xe8"))
	f.Add([]byte("\x82\xfe\x00\x80\x00\x00\x00\x00"))
	f.Add([]byte("\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, err := messagesIn(t, data, len(data))
		// However it is cut up, it says the same.
		for _, piece := range []int{1, 2, 3, 7} {
			got, gotErr := messagesIn(t, data, piece)
			if !slices.Equal(got, whole) || fmt.Sprint(gotErr) != fmt.Sprint(err) {
				t.Fatalf("in pieces of %d: %q, %v; at once: %q, %v", piece, got, gotErr, whole, err)
			}
		}
	})
}

// messagesIn are the messages and control frames in data, which comes in pieces.
func messagesIn(t *testing.T, data []byte, piece int) (all []string, err error) {
	t.Helper()
	const maxBytes = 100
	var r frameReader
	for piece := range slices.Chunk(bytes.Clone(data), max(piece, 1)) {
		for in := piece; ; {
			op, payload, rest, err := r.next(in, maxBytes)
			if err != nil {
				return all, err
			}
			switch op {
			case opNone:
			case ws.OpText, ws.OpBinary:
				if len(payload) > maxBytes || op == ws.OpText && !utf8.Valid(payload) {
					t.Fatalf("op %d, %q", op, payload)
				}
			case ws.OpPing, ws.OpPong:
				if len(payload) > ws.MaxControlFramePayloadSize {
					t.Fatalf("control frame of %d bytes", len(payload))
				}
			default:
				t.Fatalf("op %d", op)
			}
			if op == opNone {
				break
			}
			all = append(all, fmt.Sprintf("%d %s", op, payload))
			in = rest
		}
	}
	if p := r.partial; p != nil && len(p.frame)+len(p.data) > len(data) {
		t.Fatalf("%d bytes kept of %d", len(p.frame)+len(p.data), len(data))
	}
	return all, nil
}
