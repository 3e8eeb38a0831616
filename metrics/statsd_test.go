package metrics

import (
	"context"
	"net"
	"testing"
	"time"
)

// patience is how long something may take before it is taken for missing.
const patience = 15 * time.Minute

// TestStatsDIsLookedUpAgain: the client connects anew at an interval, and so follows a name
// that has moved. A new connection has another port of its own.
func TestStatsDIsLookedUpAgain(t *testing.T) {
	t.Parallel()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	set, err := New(Config{StatsD: server.LocalAddr().String(), FlushInterval: time.Millisecond, ReconnectInterval: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	set.Gauge(Sockets).Set(1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- set.Run(ctx) }()
	_ = server.SetReadDeadline(time.Now().Add(patience))
	from := map[string]bool{}
	for buffer := make([]byte, 1500); len(from) < 3; {
		_, addr, err := server.ReadFrom(buffer)
		if err != nil {
			t.Fatalf("%v, after packets of %d connections", err, len(from))
		}
		from[addr.String()] = true
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
