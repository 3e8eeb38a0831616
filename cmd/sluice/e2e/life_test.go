package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Nothing received for the heartbeat timeout: the server closes. A client that
// sends heartbeats, or pings, is not concerned.
func TestHeartbeatTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 10 * time.Second
	s := serve(t, "--data-dir", t.TempDir(), "--heartbeat-timeout", timeout.String()).ready(t)
	silent, joined := openRaw(t, s.public, "2.0.0"), openRaw(t, s.public, "2.0.0")
	joined.text(t, `["1","1","orders","phx_join",{}]`)
	joined.expectJSON(t, `["1","1","orders","phx_reply",{"status":"ok","response":{}}]`)
	mute := connect(t, s.public, "phoenix18")
	mute.join(t, "orders", nil)

	for end := time.Now().Add(patience); !staysAlive(t, s, timeout); {
		if time.Now().After(end) {
			t.Fatal("no clients have sent their signs of life in time")
		}
	}
	silent.expectClose(t, 1001)
	joined.expectClose(t, 1001)
	if closed := mute.next(t, "close"); closed.Code != 1001 {
		t.Errorf("a stock client that sends no heartbeat is closed with %d", closed.Code)
	}
	mute.next(t, "open") // and it comes back
	mute.expect(t, "joined", "orders", "", "", `{}`)
}

// staysAlive has two clients send signs of life for longer than the timeout, and tells whether
// they have sent them in time: of who has been late, on a busy machine, nothing is known. Nobody
// has, if what is seen of them here is never further apart than a quarter of it.
func staysAlive(t *testing.T, s *service, timeout time.Duration) (inTime bool) {
	t.Helper()
	beating, pinging := connect(t, s.public, "phoenix18", "2", "websocket", `{"heartbeatIntervalMs":500}`), openRaw(t, s.public, "2.0.0")
	last, longest := time.Now(), time.Duration(0)
	for begun := last; time.Since(begun) < timeout+2*time.Second; {
		beating.frame(t, "phoenix", "phx_reply")
		_, _ = pinging.conn.Write(frame(fin|opPing, "alive?")) // an error is one of read, too
		op, payload, err := pinging.read()
		now := time.Now()
		last, longest = now, max(longest, now.Sub(last))
		if alive := err == nil && op == opPong && string(payload) == "alive?"; !alive && longest < timeout/4 {
			t.Fatalf("a client that sends pings got %#x %q (%v)", op, payload, err)
		} else if !alive {
			return false
		}
	}
	if !strings.Contains(strings.Join(beating.said("close"), ""), `"code":1001`) { // it may have given up a connection itself
		return true
	}
	if longest < timeout/4 {
		t.Error("a client that sends heartbeats was closed")
	}
	return false
}

// A connection that has reached the age is closed so that its client comes back,
// to another node perhaps: 1012.
func TestConnectionAge(t *testing.T) {
	t.Parallel()
	s := serve(t, "--data-dir", t.TempDir(), "--max-connection-age", "1s").ready(t)
	c := openRaw(t, s.public, "2.0.0")
	socket, poll := connect(t, s.public, "phoenix18"), connect(t, s.public, "phoenix18", "2", "longpoll")
	socket.join(t, "orders", nil)
	poll.join(t, "orders", nil)
	c.expectClose(t, 1012)
	if closed := socket.next(t, "close"); closed.Code != 1012 {
		t.Errorf("a stock client is closed with %d", closed.Code)
	}
	poll.next(t, "close")
	for _, c := range []*phoenix{socket, poll} {
		c.next(t, "open")
		c.expect(t, "joined", "orders", "", "", `{}`)
	}
}

// Beyond the inbound rate, reading waits: nothing is lost, and nobody else
// waits. The first second's worth may come at once.
func TestInboundRate(t *testing.T) {
	t.Parallel()
	const rate, messages = 10, 25
	s := serve(t, "--data-dir", t.TempDir(), "--inbound-rate", fmt.Sprint(rate)).ready(t)
	hasty, calm := openRaw(t, s.public, "2.0.0"), openRaw(t, s.public, "2.0.0")
	began := time.Now()
	for n := range messages {
		hasty.text(t, fmt.Sprintf(`[null,%d,"phoenix","heartbeat",{}]`, n))
	}
	calm.alive(t)
	for n := range messages {
		hasty.expectJSON(t, fmt.Sprintf(`[null,%d,"phoenix","phx_reply",{"status":"ok","response":{}}]`, n))
	}
	if took := time.Since(began); took < (messages-rate)*time.Second/rate-time.Second/rate {
		t.Errorf("%d messages at %d a second were read in %v", messages, rate, took)
	}
}
