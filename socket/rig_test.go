package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/internal/testmain"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(crowdEnv); addr != "" {
		beCrowd(addr)
		return
	}
	testmain.Main(m)
}

// rig is an endpoint with the room below, and a log that consists of its
// offsets.
type rig struct {
	t        testing.TB
	hub      *channels.Hub
	pubsub   *channels.PubSub
	endpoint *Endpoint
	metrics  *metrics.Set
	builder  *outbound.Builder
	offset   int64
	stop     func() error // drains
}

func newRig(t testing.TB, adjust ...func(*Config)) *rig {
	t.Helper()
	set, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	hub := channels.NewHub(set)
	hub.SetEpoch("E")
	pubsub := channels.NewPubSub(hub, phoenix.Encoder{})
	logger := slog.New(slog.DiscardHandler)
	r := &rig{t: t, hub: hub, pubsub: pubsub, metrics: set, builder: outbound.NewBuilder(phoenix.Encoder{})}
	host, err := channels.NewHost(channels.HostConfig{
		Hub: hub, PubSub: pubsub, Encoder: phoenix.Encoder{}, Publisher: r, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	var routes channels.Routes
	for pattern, factory := range map[string]channels.Factory{
		"room:*":   func() channels.Channel { return new(room) },
		"params:*": func() channels.Channel { return new(room) },
		"quiet":    func() channels.Channel { return quiet{} },
		"broken":   func() channels.Channel { panic("no channel") },
	} {
		if err := routes.Handle(pattern, factory); err != nil {
			t.Fatal(err)
		}
	}
	config := Config{Host: host, Routes: &routes, Metrics: set, Logger: logger}
	for _, f := range adjust {
		f(&config)
	}
	if r.endpoint, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- r.endpoint.Run(ctx) }()
	stopped := false
	r.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ran
	}
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// newPatientRig is newRig for tests in which time passes by itself, and says nothing about how
// far the test has come: what it does not adjust does not end in as long as it may take.
func newPatientRig(t testing.TB, adjust ...func(*Config)) *rig {
	t.Helper()
	return newRig(t, append([]func(*Config){func(c *Config) {
		c.HandshakeTimeout, c.HeartbeatTimeout, c.WriteTimeout = time.Hour, time.Hour, time.Hour
		c.DrainTimeout, c.closeTimeout = time.Hour, time.Hour
	}}, adjust...)...)
}

// tooLong is how long a test waits for what a machine that has much else to do takes a
// while for: in vain only for what never comes.
const tooLong = 10 * time.Minute

// until waits until something is so. It looks again after a pause, which is nobody's but the
// others' that are to run meanwhile.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(tooLong); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain until %s", tooLong, what)
		}
	}
}

// log routes one event of the log.
func (r *rig) log(topic, event, payload string) {
	r.t.Helper()
	r.offset++
	r.hub.Advance(r.offset)
	r.builder.Start(r.hub.Watched(topic))
	err := r.builder.Add(&outbound.Message{Offset: r.offset, Topic: topic, Event: event,
		Payload: []byte(payload), InsertedAt: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	if seg := r.builder.Segment(); seg != nil {
		r.hub.Route(seg)
	}
}

// Publish makes the rig its channels' log.
func (r *rig) Publish(_ context.Context, m *outbound.Message) error {
	r.log(m.Topic, m.Event, string(m.Payload))
	return nil
}

// counter reads a metric.
func (r *rig) counter(name metrics.Name, tags ...metrics.Tag) int64 {
	return r.metrics.Counter(name, tags...).Value()
}

// connect opens a connection in memory, without the handshake of HTTP.
func (r *rig) connect(format outbound.Format) *client {
	r.t.Helper()
	here, there := net.Pipe()
	return r.attach(format, &channels.Socket{ID: "user"}, here, there)
}

func (r *rig) attach(format outbound.Format, socket *channels.Socket, here, there net.Conn) *client {
	r.t.Helper()
	if rejected := r.endpoint.reserveAny(); rejected != nil {
		r.t.Fatal(rejected)
	}
	c := newConn(r.endpoint, there, nil, socket, format)
	r.endpoint.register(c)
	c.io.start()
	r.t.Cleanup(func() { here.Close() })
	return &client{t: r.t, Conn: here, conn: c}
}

// client is a client that can send anything.
type client struct {
	net.Conn
	t    testing.TB
	conn *conn // the server's side; nil for a client over HTTP
}

// frame sends one masked frame.
func (c *client) frame(op ws.OpCode, fin bool, payload string) {
	c.t.Helper()
	f := ws.MaskFrameInPlaceWith(ws.NewFrame(op, fin, []byte(payload)), [4]byte{1, 2, 3, 4})
	c.raw(string(ws.MustCompileFrame(f)))
}

func (c *client) text(payload string) { c.t.Helper(); c.frame(ws.OpText, true, payload) }

func (c *client) raw(data string) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(tooLong))
	if _, err := io.WriteString(c, data); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// next reads a frame, and tells it as text: a text message as it is, anything
// else by its opcode.
func (c *client) next() string {
	c.t.Helper()
	f, err := c.read()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe):
		return "end"
	case err != nil:
		c.t.Fatalf("read: %v", err)
	case f.Header.Masked:
		c.t.Fatal("server sent a masked frame")
	}
	switch f.Header.OpCode {
	case ws.OpText:
		return string(f.Payload)
	case ws.OpBinary:
		return "binary " + fmt.Sprintf("%q", f.Payload)
	case ws.OpPong:
		return "pong " + string(f.Payload)
	case ws.OpClose:
		if len(f.Payload) == 0 {
			return "close"
		}
		return fmt.Sprintf("close %d", binary.BigEndian.Uint16(f.Payload))
	}
	return fmt.Sprintf("opcode %d", f.Header.OpCode)
}

func (c *client) read() (ws.Frame, error) {
	_ = c.SetReadDeadline(time.Now().Add(time.Hour)) // in a bubble, the server may have as long
	h, err := ws.ReadHeader(c)
	if err != nil {
		return ws.Frame{}, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(c, payload)
	return ws.Frame{Header: h, Payload: payload}, err
}

// want reads frames and compares them.
func (c *client) want(frames ...string) {
	c.t.Helper()
	for _, want := range frames {
		if got := c.next(); got != want {
			c.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// join joins a topic with version 2.
func (c *client) join(topic, params string) {
	c.t.Helper()
	c.text(fmt.Sprintf(`["1","1",%q,"phx_join",%s]`, topic, params))
	if got := c.next(); !strings.Contains(got, `"status":"ok"`) {
		c.t.Fatalf("join %s: %s", topic, got)
	}
}

// room is a Channel that does what it is told.
type room struct {
	joins int // to see that every join has its own
}

func (m *room) Join(ctx *channels.Context, params outbound.Payload) (any, error) {
	m.joins++
	var wish struct {
		Do    string `json:"do"`
		Reply any    `json:"reply"`
	}
	_ = params.Decode(&wish)
	if strings.HasPrefix(ctx.Topic(), "params:") { // tells what the channel sees
		return params, nil
	}
	switch wish.Do {
	case "reject":
		return nil, channels.Reject("not you")
	case "panic":
		panic("join")
	case "fail":
		return nil, errors.New("a secret")
	case "all":
		ctx.SetOptions(outbound.Options{Dedupe: outbound.DedupeOffset, Tags: map[string]string{"kind": "all"}})
	case "uncompressed":
		ctx.SetOptions(outbound.Options{Compress: outbound.CompressOff})
	case "push":
		if err := ctx.Push("early", nil); !errors.Is(err, outbound.ErrClosed) {
			return nil, fmt.Errorf("push before the join: %v", err)
		}
	}
	return wish.Reply, nil
}

func (m *room) HandleIn(ctx *channels.Context, event string, p outbound.Payload) channels.Result {
	switch event {
	case "echo":
		return channels.OK(p)
	case "kind":
		if p.Binary {
			return channels.OK("binary")
		}
		return channels.OK("text")
	case "joins":
		return channels.OK(m.joins)
	case "fail":
		return channels.Error(channels.Reason("no"))
	case "silent":
		return channels.NoReply()
	case "push":
		_ = ctx.Push("pushed", p)
		return channels.OK(nil)
	case "broadcast":
		_ = ctx.Broadcast("news", p)
	case "broadcast_from":
		_ = ctx.BroadcastFrom("news", p)
	case "publish":
		if err := ctx.Publish("created", p, nil); err != nil {
			return channels.Error(channels.Reason(err.Error()))
		}
		return channels.OK(nil)
	case "stop":
		return channels.Stop(nil)
	case "stop_reply":
		return channels.OK(nil).ThenStop(nil)
	case "stop_crash":
		return channels.Stop(errors.New("enough"))
	case "panic":
		panic("in")
	case "wait":
		<-ctx.Context().Done()
	case "unencodable":
		return channels.OK(func() {})
	case "explosive":
		if err := ctx.Push("pushed", explosive{}); err == nil {
			return channels.OK("pushed")
		}
		return channels.OK(explosive{})
	}
	return channels.NoReply()
}

// quiet is a Channel that takes nothing in.
type quiet struct{}

func (quiet) Join(*channels.Context, outbound.Payload) (any, error) { return nil, nil }

// peer is a client on any transport.
type peer interface {
	text(string)  // sends a message
	next() string // receives one
	quiet()       // fails unless there is nothing more for now
}

// quiet implements peer.
func (c *client) quiet() {
	c.t.Helper()
	synctest.Wait()
	_ = c.SetReadDeadline(time.Now())
	if n, err := c.Read(make([]byte, 1)); n > 0 || !isTimeout(err) {
		c.t.Fatalf("received something, or %v", err)
	}
}

// play runs a script: what clients send and receive, line by line.
//
//	a> frame     client a sends a text message
//	a< frame     client a receives this message next
//	a- why       client a receives nothing more for now
//	! log T E P  an event of the log is routed
//	! cast T E P a broadcast is sent
func (r *rig) play(connect func() peer, script string) {
	r.t.Helper()
	peers := make(map[byte]peer)
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		rest := strings.TrimSpace(line[2:])
		if line[0] == '!' {
			f := strings.SplitN(rest, " ", 4)
			if f[0] == "log" {
				r.log(f[1], f[2], f[3])
			} else if err := r.pubsub.Broadcast(&outbound.Message{Topic: f[1], Event: f[2], Payload: []byte(f[3])}, nil); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		p := peers[line[0]]
		if p == nil {
			p = connect()
			peers[line[0]] = p
		}
		switch line[1] {
		case '>':
			p.text(rest)
		case '<':
			if got := p.next(); got != rest {
				r.t.Fatalf("%s\ngot %s", line, got)
			}
		case '-':
			p.quiet()
		default:
			r.t.Fatalf("script: %s", line)
		}
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
