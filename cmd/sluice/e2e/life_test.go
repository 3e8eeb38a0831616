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
	s := serve(t, "--data-dir", t.TempDir(), "--heartbeat-timeout", "10s").ready(t)
	silent, joined := openRaw(t, s.public, "2.0.0"), openRaw(t, s.public, "2.0.0")
	joined.text(t, `["1","1","orders","phx_join",{}]`)
	joined.expectJSON(t, `["1","1","orders","phx_reply",{"status":"ok","response":{}}]`)
	beating, pinging := connect(t, s.public, "phoenix18", "2", "websocket", `{"heartbeatIntervalMs":500}`), openRaw(t, s.public, "2.0.0")
	mute := connect(t, s.public, "phoenix18")
	mute.join(t, "orders", nil)

	for range 24 { // twelve seconds of them: no machine is so slow that ten pass between two
		beating.frame(t, "phoenix", "phx_reply")
		pinging.write(t, frame(fin|opPing, "alive?"))
		pinging.expect(t, opPong, "alive?")
	}
	if strings.Contains(beating.stdout.text(), `"code":1001`) { // it may have given up a connection itself
		t.Error("a client that sends heartbeats was closed")
	}
	silent.expectClose(t, 1001)
	joined.expectClose(t, 1001)
	if closed := mute.next(t, "close"); closed.Code != 1001 {
		t.Errorf("a stock client that sends no heartbeat is closed with %d", closed.Code)
	}
	mute.next(t, "open") // and it comes back
	mute.expect(t, "joined", "orders", "", "", `{}`)
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
