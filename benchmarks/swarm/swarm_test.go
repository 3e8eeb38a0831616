package swarm

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// never is how long tests wait for what does not happen.
const never = time.Minute

// script is a server that answers handshakes and joins, and then does to each
// connection what a test says.
type script struct {
	url     string
	answer  string // to the handshake; empty: as it should be
	refuse  bool   // the joins
	then    func(t *testing.T, conn net.Conn)
	greeted chan string // the first message of each client; nobody closes it
}

func (s *script) serve(t *testing.T) *script {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.greeted = "ws://"+listener.Addr().String(), make(chan string, 100)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				s.play(t, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return s
}

// play is one connection, until the client ends it.
func (s *script) play(t *testing.T, conn net.Conn) {
	if s.answer != "" {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = conn.Write([]byte(s.answer))
		}
		return
	}
	if _, err := ws.Upgrade(conn); err != nil {
		return // the client has gone
	}
	message, err := wsutil.ReadClientText(conn)
	if err != nil {
		return
	}
	s.greeted <- string(message)
	status := "ok"
	if s.refuse {
		status = "error"
	}
	if err := wsutil.WriteServerText(conn, []byte(`["1","1","t:0","phx_reply",{"status":"`+status+`","response":{}}]`)); err != nil {
		return
	}
	if s.then != nil {
		s.then(t, conn)
	}
	for err == nil {
		_, err = wsutil.ReadClientText(conn)
	}
}

func (s *script) config(sockets int) Config {
	return Config{URL: s.url, Dialect: Phoenix{}, Load: Load{Topics: 1, Sockets: sockets, Payload: 100}, Prefix: "t:"}
}

func open(t *testing.T, config Config) *Swarm {
	t.Helper()
	s, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeSwarm(t *testing.T, s *Swarm) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// trickle writes a byte at a time.
func trickle(conn net.Conn, data []byte) error {
	for i := range data {
		if _, err := conn.Write(data[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// Whatever a server does to events is found, however its frames are split.
func TestWhatGoesWrongIsFound(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 1, Sockets: 1, Payload: 100}
	for name, test := range map[string]struct {
		numbers []int64
		want    Check
	}{
		"all":          {[]int64{0, 1, 2, 3}, Check{}},
		"one lost":     {[]int64{0, 2, 3}, Check{Lost: 1}},
		"one twice":    {[]int64{0, 1, 1, 2, 3}, Check{Twice: 1}},
		"out of order": {[]int64{0, 2, 1, 3}, Check{Disordered: 1}},
		"cut":          {[]int64{0, 1}, Check{Lost: 2, Cut: 1}},
	} {
		for _, together := range []bool{false, true} { // several events in a message
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				announced := make(chan struct{}) // closed below, once the window is
				server := (&script{then: func(t *testing.T, conn net.Conn) {
					<-announced
					var message, data []byte
					for _, n := range test.numbers {
						payload := load.AppendPayload(nil, Event{0, n, 1})
						message = append(append(message, payload...), '\n')
						data = append(data, serverFrame(ws.OpText, payload)...)
					}
					if together {
						data = serverFrame(ws.OpText, message)
					}
					err := trickle(conn, data)
					if err == nil && test.want.Cut > 0 {
						err = trickle(conn, ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1008, "too slow"))))
					}
					if err != nil {
						t.Error(err)
					}
				}}).serve(t)
				s := open(t, server.config(1))
				window := s.Announce(4)
				close(announced)
				patience := never
				if test.want.Lost > 0 && test.want.Cut == 0 {
					patience = 0 // it is waited for at the next glance only
				}
				complete, err := s.Await(t.Context(), window, patience, nil)
				if err != nil || complete != (test.want.Lost == 0) {
					t.Errorf("complete: %v, %v", complete, err)
				}
				for s.Arrived() < int64(len(test.numbers)) { // behind what made it complete
					<-time.After(time.Millisecond)
				}
				closeSwarm(t, s)
				tally := s.Tally()
				if tally.Check != test.want || tally.Latency.Samples != int64(len(test.numbers)) {
					t.Errorf("%+v, want %+v", tally, test.want)
				}
				if cut := strings.Contains(tally.CutBecause, "1008 too slow"); cut != (test.want.Cut > 0) {
					t.Errorf("cut because %q", tally.CutBecause)
				}
			})
		}
	}
}

// A frame may be larger than what is read at a time.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	load := Load{Topics: 1, Sockets: 1, Payload: MaxPayload}
	announced := make(chan struct{}) // closed below, once the window is
	server := (&script{then: func(t *testing.T, conn net.Conn) {
		<-announced
		for n := range int64(3) {
			if _, err := conn.Write(event(load, 0, n, 0)); err != nil {
				t.Error(err)
			}
		}
	}}).serve(t)
	config := server.config(1)
	config.Load = load
	s := open(t, config)
	window := s.Announce(3)
	close(announced)
	if complete, err := s.Await(t.Context(), window, never, nil); err != nil || !complete {
		t.Errorf("complete: %v, %v", complete, err)
	}
	closeSwarm(t, s)
	if tally := s.Tally(); !tally.Sound() || tally.Deliveries != 3 {
		t.Errorf("%+v", tally)
	}
}

func TestJoiningFails(t *testing.T) {
	t.Parallel()
	for want, server := range map[string]*script{
		"HTTP/1.1 503":      {answer: "HTTP/1.1 503 Service Unavailable\r\n\r\n"},
		"no WebSocket":      {answer: "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"},
		"without an end":    {answer: "HTTP/1.1 101 " + strings.Repeat("x", 20<<10)},
		"EOF":               {answer: "HTTP/1.1 101"},
		"join was answered": {refuse: true},
	} {
		server.serve(t)
		s, err := Open(t.Context(), server.config(3))
		if err == nil || !strings.Contains(err.Error(), want) || s != nil {
			t.Errorf("%v, want %q", err, want)
		}
	}
	const nobody = "ws://127.0.0.1:1" // and no other test is given it
	if _, err := Open(t.Context(), Config{URL: nobody, Dialect: Phoenix{}, Load: Load{Topics: 1, Sockets: 1}}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

// mute is a dialect in which nobody ever joins.
type mute struct{ Phoenix }

func (mute) Greet(say Say, _ []string) { say([]byte("hello")) }

func (mute) Hear(Say, []string, []byte) (int, error) { return 0, nil }

func TestJoiningTakesTooLong(t *testing.T) {
	t.Parallel()
	server := (&script{}).serve(t)
	config := server.config(2)
	config.Dialect, config.JoinTimeout = mute{}, time.Millisecond
	if _, err := Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "0 have joined after 1ms") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	config.JoinTimeout = never
	go func() {
		<-server.greeted
		cancel()
	}()
	if _, err := Open(ctx, config); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	t.Parallel()
	good := Config{URL: "ws://127.0.0.1:1", Dialect: Phoenix{}, Load: Load{Topics: 1, Sockets: 1}}
	for name, spoil := range map[string]func(*Config){
		"no load":    func(c *Config) { c.Load = Load{} },
		"no dialect": func(c *Config) { c.Dialect = nil },
		"no URL":     func(c *Config) { c.URL = "" },
		"TLS":        func(c *Config) { c.URL = "wss://127.0.0.1:1" },
		"no host":    func(c *Config) { c.URL = "ws:///socket" },
		"all apart":  func(c *Config) { c.Apart = 2 },
		"no address": func(c *Config) { c.URL = "ws://127.0.0.1:port" },
	} {
		config := good
		spoil(&config)
		if _, err := Open(t.Context(), config); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

// beating is a dialect that says something all the time.
type beating struct{ Phoenix }

func (beating) Beat() (time.Duration, []byte) { return time.Millisecond, []byte("alive") }

func TestClientsBeat(t *testing.T) {
	t.Parallel()
	beats := make(chan string, 2) // from each connection; nobody closes it
	server := (&script{then: func(_ *testing.T, conn net.Conn) {
		if message, err := wsutil.ReadClientText(conn); err == nil {
			beats <- string(message)
		}
	}}).serve(t)
	config := server.config(2)
	config.Dialect = beating{}
	s := open(t, config)
	for range 2 {
		if got := <-beats; got != "alive" {
			t.Errorf("a client says %q", got)
		}
	}
	closeSwarm(t, s)
}

// blending is a dialect that answers what stands beside events.
type blending struct{ Phoenix }

func (blending) HearMixed(say Say, message []byte) {
	if strings.HasSuffix(string(message), "ping") {
		say([]byte("pong"))
	}
}

func TestDialectHearsWhatStandsBesideEvents(t *testing.T) {
	t.Parallel()
	pongs := make(chan string, 1) // from the connection; nobody closes it
	server := (&script{then: func(_ *testing.T, conn net.Conn) {
		payload := Load{}.AppendPayload(nil, Event{})
		if err := wsutil.WriteServerText(conn, append(payload, "\nping"...)); err == nil {
			message, _ := wsutil.ReadClientText(conn)
			pongs <- string(message)
		}
	}}).serve(t)
	config := server.config(1)
	config.Dialect = blending{}
	s := open(t, config)
	if got := <-pongs; got != "pong" {
		t.Errorf("the client says %q", got)
	}
	closeSwarm(t, s)
}

func TestPoster(t *testing.T) {
	t.Parallel()
	status := http.StatusAccepted
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var lines []string
		for scanner := bufio.NewScanner(r.Body); scanner.Scan(); {
			lines = append(lines, scanner.Text())
		}
		want := `{"topic":"t:1","event":"tick","payload":{"n":0,"t":1,"at":7}}|{"topic":"t:0","event":"tick","payload":{"n":1,"t":0,"at":8}}`
		if got := strings.Join(lines, "|"); got != want || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("posted %s with %v", got, r.Header)
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	p := &Poster{URL: server.URL, Token: "secret", Load: Load{Topics: 2, Sockets: 1}, Prefix: "t:"}
	events := []Event{{1, 0, 7}, {0, 1, 8}}
	if err := p.Publish(t.Context(), events); err != nil {
		t.Error(err)
	}
	status = http.StatusServiceUnavailable
	if err := p.Publish(t.Context(), events); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("refused with %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestSourceAddressesSpread(t *testing.T) {
	t.Parallel()
	for client, want := range map[int]string{0: "127.0.0.1", perSource - 1: "127.0.0.1", perSource: "127.0.0.2", 300 * perSource: "127.0.1.45"} {
		if got := sourceOf(net.ParseIP("127.0.0.1"), client).String(); got != want {
			t.Errorf("client %d connects from %s, want %s", client, got, want)
		}
	}
	for _, far := range []string{"192.0.2.1", "::1"} {
		if got := sourceOf(net.ParseIP(far), 0); got != nil {
			t.Errorf("to %s from %v", far, got)
		}
	}
}
