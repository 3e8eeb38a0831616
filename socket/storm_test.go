package socket

import (
	"fmt"
	"sync"
	"testing"

	"github.com/gobwas/ws"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// TestStorm has 2,000 sockets join one topic at once, shows all of them an
// event, and drains them.
func TestStorm(t *testing.T) { bubble(t, nil, storm) } // however long the machine takes

func storm(t *testing.T, r *rig) {
	const sockets = 2000
	clients := make([]*client, sockets)
	for i := range clients {
		clients[i] = r.connect(phoenix.Version2)
	}
	phase := func(do func(c *client)) {
		t.Helper()
		var group sync.WaitGroup
		for _, c := range clients {
			group.Go(func() { do(c) })
		}
		group.Wait()
	}
	phase(func(c *client) {
		c.text(`["1","1","room:storm","phx_join",{"after":null}]`)
		if got := c.next(); got != `["1","1","room:storm","phx_reply",{"status":"ok","response":{"offset":0,"epoch":"E","resumed":true}}]` {
			t.Error(got)
		}
	})
	if got := r.hub.Channels(); got != sockets {
		t.Fatalf("%d channels", got)
	}
	const events = 5
	for i := range events {
		r.log("room:storm", "created", fmt.Sprint(i))
	}
	phase(func(c *client) {
		for i := range events {
			if got := c.next(); got != fmt.Sprintf(`[null,null,"room:storm","created",{"offset":%d,"data":%d}]`, i+1, i) {
				t.Error(got)
			}
		}
	})
	drained := make(chan error, 1)
	go func() { drained <- r.stop() }()
	phase(func(c *client) {
		if got := c.next(); got != "close 1012" {
			t.Error(got)
		}
		c.frame(ws.OpClose, true, "\x03\xf4")
		if got := c.next(); got != "end" {
			t.Error(got)
		}
	})
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if r.endpoint.Sockets() != 0 || r.hub.Channels() != 0 || r.hub.Topics() != 0 {
		t.Fatal(r.endpoint.Sockets(), r.hub.Channels(), r.hub.Topics())
	}
}
