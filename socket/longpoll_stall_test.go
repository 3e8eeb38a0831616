package socket

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/httpservertest"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// serveInMemory serves the rig's endpoint as a program would, in memory.
func (r *rig) serveInMemory() *httpservertest.Listener {
	r.t.Helper()
	return r.serveInMemoryBy(r.endpoint)
}

// serveInMemoryBy is serveInMemory by a handler of its own.
func (r *rig) serveInMemoryBy(handler http.Handler) *httpservertest.Listener {
	r.t.Helper()
	listener := httpservertest.Listen()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go server.Serve(listener)
	r.t.Cleanup(func() {
		_ = r.stop()
		server.Close()
		time.Sleep(time.Second) // of the test's own clock: the server lingers over what it closes
	})
	return listener
}

// TestPollsThatStallHoldNothing has clients stall in every phase of the requests
// of a session, which ends in time: when its grace is over, when its user is
// disconnected, and when the endpoint drains.
func TestPollsThatStallHoldNothing(t *testing.T) {
	named := func(c *Config) {
		c.MaxConnections = 1
		c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
			return &channels.Socket{ID: "user"}, nil
		}
	}
	// What no request prolongs is one poll, its answer, and the grace.
	const grace = pollTimeout + 15*time.Second + pollGrace + time.Second
	for how, end := range map[string]func(r *rig) time.Duration{
		"by its grace": func(r *rig) time.Duration { return grace },
		"by its id": func(r *rig) time.Duration {
			time.Sleep(3 * time.Second)   // of the test's own clock
			there := r.endpoint.Sockets() // none, if what its client has done has ended it
			if n := r.endpoint.Disconnect("user"); n != there {
				r.t.Errorf("%d of %d disconnected", n, there)
			}
			return closeTimeout
		},
		"by a drain": func(r *rig) time.Duration {
			time.Sleep(3 * time.Second) // of the test's own clock
			start := time.Now()
			if err := r.stop(); err != nil || time.Since(start) > closeTimeout+time.Second {
				r.t.Errorf("stopped after %s: %v", time.Since(start), err)
			}
			return 0
		},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			for _, stall := range httpservertest.Stalls {
				t.Run(how+"/"+method+"/"+stall.Name, func(t *testing.T) {
					bubble(t, named, func(t *testing.T, r *rig) {
						listener := r.serveInMemory()
						p := r.poll(phoenix.Version2)
						p.text(`["1","1","room:a","phx_join",{}]`)
						conn := listener.Dial()
						ended := make(chan struct{})
						go func() {
							defer close(ended)
							stall.Client(conn, method, "/socket/longpoll?vsn=2.0.0&token="+p.token)
						}()
						time.Sleep(end(r)) // of the test's own clock
						synctest.Wait()
						if n := r.endpoint.Sockets(); n != 0 {
							t.Errorf("%d sessions left", n)
						}
						if how != "by a drain" && r.poller("2.0.0").get().Status != pollGone {
							t.Error("its place is not free")
						}
						<-ended
					})
				})
			}
		}
	}
}
