package socket

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/gobwas/ws"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// routed is what the tests below route: more than the kernel and a writer take of
// it, so that a connection ends with messages written, in hand and queued.
const routed = 120

// route sends a channel on room:a events and broadcasts, until its connection is
// being closed. It returns how many there were.
func (r *rig) route(closing func() bool) (n int64) {
	r.t.Helper()
	for ; n < routed && !closing(); n++ {
		payload := fmt.Sprintf(`{"x":%q}`, strings.Repeat("x", 8<<10))
		if n%3 > 0 {
			r.log("room:a", "created", payload)
		} else if err := r.pubsub.Broadcast(&outbound.Message{Topic: "room:a", Event: "news", Payload: []byte(payload)}, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	return n
}

// accounted is how many messages are in a counter.
func (r *rig) accounted() (pushed, n int64) {
	pushed = r.counter(metrics.MessagesPushed)
	n = pushed + r.counter(metrics.MessagesDuplicate)
	for _, reason := range []outbound.DropReason{outbound.DropOverflow, outbound.DropSuperseded, outbound.DropTooSlow,
		outbound.DropClosed, outbound.DropReplaced, outbound.DropWithheld, outbound.DropUnreadable} {
		n += r.counter(metrics.MessagesDropped, metrics.Reason(string(reason)))
	}
	return pushed, n
}

// sibling watches room:a for as long as the hub is there, and counts nothing.
type sibling struct{}

func (sibling) Deliver(*outbound.Segment, time.Time) {}

// isLetGo waits until nothing keeps a connection in memory, which has ended.
func isLetGo[T any](t *testing.T, ended weak.Pointer[T], pause func()) {
	t.Helper()
	for range 20_000 {
		if runtime.GC(); ended.Value() == nil {
			return
		}
		pause()
	}
	t.Error("something keeps the connection that has ended")
}

// An end is a way in which a WebSocket ends that has been sent more than its client
// has read.
type end struct {
	config func(*Config)
	do     func(r *rig, c *client)
	all    bool // is pushed
	timed  bool // may come while messages are routed, on a machine that takes long for it
}

// readOn reads what comes, up to the close frame, and ends its side then.
func (c *client) readOn() {
	for {
		if f, err := c.read(); err != nil || f.Header.OpCode == ws.OpClose {
			c.Close()
			return
		}
	}
}

// reset ends the connection without a word.
func (c *client) reset() {
	conn := c.Conn
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

var ends = map[string]end{
	"the client closes":                 {do: func(_ *rig, c *client) { c.Close() }},
	"the client resets":                 {do: func(_ *rig, c *client) { c.reset() }},
	"the client says goodbye and reads": {do: func(_ *rig, c *client) { c.frame(ws.OpClose, true, ""); c.readOn() }, all: true},
	"a write fails in the midst": {do: func(_ *rig, c *client) {
		_, _ = io.ReadFull(c, make([]byte, 100_001))
		c.reset()
	}},
	"the client breaks the protocol":           {do: func(_ *rig, c *client) { c.frame(ws.OpCode(3), true, ""); c.Close() }},
	"the client breaks the protocol and reads": {do: func(_ *rig, c *client) { c.frame(ws.OpCode(3), true, ""); c.readOn() }, all: true},
	"the client sends what is malformed":       {do: func(_ *rig, c *client) { c.text("?"); c.reset() }},
	"by id":                                    {do: func(r *rig, c *client) { r.endpoint.Disconnect("user"); c.reset() }},
	"by id, and the client reads":              {do: func(r *rig, c *client) { r.endpoint.Disconnect("user"); c.readOn() }, all: true},
	"by a drain": {config: func(c *Config) { c.DrainTimeout = time.Millisecond },
		do: func(r *rig, _ *client) { _ = r.stop() }},
	"by a drain, and the client reads": {do: func(r *rig, c *client) { go c.readOn(); _ = r.stop() }, all: true},
	"too slow to be written to": {config: func(c *Config) { c.WriteTimeout = time.Second },
		do: func(*rig, *client) {}, timed: true},
	"too slow for its mailbox": {config: func(c *Config) { c.Options.MailboxSize = 50 },
		do: func(r *rig, c *client) { c.reset() }},
	"too slow for its mailbox, and reads": {config: func(c *Config) { c.Options.MailboxSize = 50 },
		do: func(r *rig, c *client) { c.readOn() }},
}

// TestEnds ends WebSockets in all ways, with messages written, in hand and queued.
// What was routed was pushed or dropped, nothing is in no counter and nothing in two;
// and nothing keeps the connection, though others watch its topic.
func TestEnds(t *testing.T) {
	t.Parallel()
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	settings := certificate.TLS.Clone()
	certificate.Close()
	for carrier, wrap := range map[string]func(here, there *net.TCPConn) (net.Conn, net.Conn){
		"as it comes":   func(here, there *net.TCPConn) (net.Conn, net.Conn) { return here, there },
		"by goroutines": func(here, there *net.TCPConn) (net.Conn, net.Conn) { return here, struct{ net.Conn }{there} },
		"over TLS": func(here, there *net.TCPConn) (net.Conn, net.Conn) {
			return tls.Client(here, &tls.Config{InsecureSkipVerify: true}), tls.Server(there, settings)
		},
	} {
		for name, end := range ends {
			t.Run(carrier+"/"+name, func(t *testing.T) {
				t.Parallel()
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				r := newPatientRig(t, func(c *Config) {
					c.MailboxBytes = 64 << 20
					if end.config != nil {
						end.config(c)
					}
				})
				subscribe(r.hub, "room:a", outbound.Formats(phoenix.Version2), sibling{})
				here, there := dialer{Listener: l}.pair(t)
				tight(here, there)
				near, far := wrap(here, there)
				c := r.attach(phoenix.Version2, &channels.Socket{ID: "user"}, near, far)
				c.join("room:a", `{}`)
				n := r.route(c.conn.closing)
				least := n
				if end.timed && c.conn.closing() {
					least-- // the last may have come after the end
				}
				end.do(r, c)
				ended := weak.Make(c.conn)
				c.conn = nil
				pause := func() { time.Sleep(time.Millisecond) } // to look again then: nothing waits for the time to pass
				until(t, "the connection has ended", func() bool { return r.endpoint.Sockets() == 0 })
				isLetGo(t, ended, pause) // and with it the writer that was at it
				if pushed, got := r.accounted(); got < least || got > n || end.all && pushed != n {
					t.Errorf("of %d messages, %d are accounted for and %d were pushed", n, got, pushed)
				}
			})
		}
	}
}

// TestPollEnds is the same with long-polls.
func TestPollEnds(t *testing.T) {
	t.Parallel()
	slow := reading{pause: 50 * time.Millisecond, bytes: 500}
	for name, end := range map[string]struct {
		config func(*Config)
		do     func(r *rig, p *wildPoller)
		all    bool
	}{
		"it does not poll":         {do: func(*rig, *wildPoller) {}},
		"it leaves an answer":      {do: func(_ *rig, p *wildPoller) { p.poll(reading{leave: time.Second, pause: slow.pause, bytes: slow.bytes}) }},
		"it reads no answer":       {do: func(_ *rig, p *wildPoller) { p.poll(reading{leave: time.Hour, pause: time.Hour}) }},
		"it polls once":            {do: func(_ *rig, p *wildPoller) { p.poll(reading{}) }},
		"it polls to the end":      {do: func(r *rig, p *wildPoller) { go p.pollOn(); time.Sleep(time.Minute); r.endpoint.Disconnect("user") }, all: true},
		"by id":                    {do: func(r *rig, p *wildPoller) { r.endpoint.Disconnect("user") }},
		"by id, and it polls":      {do: func(r *rig, p *wildPoller) { r.endpoint.Disconnect("user"); p.pollOn() }, all: true},
		"by id while it reads":     {do: func(r *rig, p *wildPoller) { go p.poll(slow); time.Sleep(time.Second); r.endpoint.Disconnect("user") }},
		"by a drain":               {do: func(r *rig, p *wildPoller) { _ = r.stop() }},
		"by a drain, and it polls": {do: func(r *rig, p *wildPoller) { go p.pollOn(); _ = r.stop() }, all: true},
		"cut by a drain": {config: func(c *Config) { c.DrainTimeout = time.Millisecond },
			do: func(r *rig, p *wildPoller) { go p.poll(slow); synctest.Wait(); _ = r.stop() }},
		"it sends what is malformed": {do: func(_ *rig, p *wildPoller) { p.ask(http.MethodPost, "", "?", reading{}) }},
		"it sends that while it reads": {do: func(_ *rig, p *wildPoller) {
			go p.poll(slow)
			time.Sleep(time.Second) // of the test's own clock
			p.ask(http.MethodPost, "", "?", reading{})
		}},
		"too slow for its mailbox": {config: func(c *Config) { c.Options.MailboxSize = 50 }, do: func(*rig, *wildPoller) {}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(c *Config) {
				c.MailboxBytes = 64 << 20
				named(c)
				if end.config != nil {
					end.config(c)
				}
			}, func(t *testing.T, r *rig) {
				listener := r.serveInMemory()
				subscribe(r.hub, "room:a", outbound.Formats(phoenix.Version2|phoenix.Polled), sibling{})
				opened := r.joinedPoll()
				p, _ := r.endpoint.find(opened.token)
				n := r.route(p.closing)
				ended := weak.Make(p)
				p = nil
				end.do(r, &wildPoller{t: t, listener: listener, token: opened.token})
				time.Sleep(5 * time.Minute) // of the test's own clock
				synctest.Wait()
				if n := r.endpoint.Sockets(); n > 0 {
					t.Errorf("%d sessions left", n)
				}
				isLetGo(t, ended, synctest.Wait)
				if pushed, got := r.accounted(); got != n || end.all && pushed != n {
					t.Errorf("of %d messages, %d are accounted for and %d were pushed", n, got, pushed)
				}
			})
		})
	}
}

// pollOn polls to the end.
func (p *wildPoller) pollOn() {
	for !p.over() {
		p.poll(reading{})
	}
}

// subscribe adds a subscriber that needs the given formats to a topic.
func subscribe(hub *channels.Hub, topic string, formats outbound.FormatSet, to channels.Subscriber) {
	sub := new(channels.Subscription)
	sub.Init(hub, topic, to)
	sub.Enter(formats)
}
