package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket/phoenix"
)

// connectUntil opens a connection with access that ends.
func (r *rig) connectUntil(expires time.Time) *client {
	here, there := net.Pipe()
	return r.attach(phoenix.Version2, &channels.Socket{ID: "user", Expires: expires, RemoteAddr: "there"}, here, there)
}

// beating sends heartbeats for some time, and then returns what comes next.
func (c *client) beating(span time.Duration) string {
	for end := time.Now().Add(span); time.Until(end) > 30*time.Second; {
		time.Sleep(30 * time.Second) // of the test's own clock
		c.text(beat)
		if got := c.next(); got != beaten {
			return got
		}
	}
	return c.next()
}

func TestAccessEnds(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		start := time.Now()
		c := r.connectUntil(start.Add(2 * time.Minute))
		if got := c.beating(2 * time.Minute); got != "close 1008" || time.Since(start) != 2*time.Minute {
			t.Fatalf("%s after %s", got, time.Since(start))
		}
		c.Close()
		synctest.Wait()
		if n := r.counter(metrics.SocketsClosed, metrics.Reason(string(closedExpired))); n != 1 {
			t.Fatal(n)
		}
	})
}

func TestAccessRenewed(t *testing.T) {
	renew := func(_ context.Context, old *channels.Socket, token string) (*channels.Socket, error) {
		switch token {
		case "good":
			return &channels.Socket{ID: old.ID, Expires: time.Now().Add(3 * time.Minute), Assigns: map[string]any{"n": 1}}, nil
		case "other":
			return &channels.Socket{ID: "somebody else"}, nil
		case "none":
			return nil, nil
		}
		return nil, errors.New("bad")
	}
	bubble(t, func(c *Config) { c.Renew = renew }, func(t *testing.T, r *rig) {
		start := time.Now()
		c := r.connectUntil(start.Add(time.Minute))
		c.join("room:a", `{}`)
		ask := func(payload, status, response string) {
			t.Helper()
			c.text(`["1","2","room:a","access_token",` + payload + `]`)
			c.want(fmt.Sprintf(`["1","2","room:a","phx_reply",{"status":%q,"response":%s}]`, status, response))
		}
		ask(`{}`, "error", `{"reason":"no access_token"}`)
		ask(`"x"`, "error", `{"reason":"no access_token"}`)
		for _, token := range []string{"bad", "none", "other"} {
			ask(`{"access_token":"`+token+`"}`, "error", `{"reason":"unauthorized"}`)
		}
		time.Sleep(50 * time.Second) // of the test's own clock
		ask(`{"access_token":"good"}`, "ok", `{}`)
		if s := c.conn.session.current(); s.RemoteAddr != "there" || s.Assigns["n"] != 1 {
			t.Fatal(s)
		}
		c.text(`["1","3","room:a","echo",1]`) // the channel goes on
		c.want(`["1","3","room:a","phx_reply",{"status":"ok","response":1}]`)
		if got := c.beating(3 * time.Minute); got != "close 1008" || time.Since(start) != 50*time.Second+3*time.Minute {
			t.Fatalf("%s after %s", got, time.Since(start))
		}
		c.Close()
	})
}

// TestRenewalCountsForItsSocket has one of two sockets of one user renew its access: the
// other ends when its own does.
func TestRenewalCountsForItsSocket(t *testing.T) {
	renew := func(_ context.Context, old *channels.Socket, _ string) (*channels.Socket, error) {
		return &channels.Socket{ID: old.ID, Expires: time.Now().Add(time.Minute)}, nil
	}
	bubble(t, func(c *Config) { c.Renew = renew }, func(t *testing.T, r *rig) {
		start := time.Now()
		one, two := r.connectUntil(start.Add(time.Minute)), r.connectUntil(start.Add(time.Minute))
		if a, b := one.conn.session.current().ID, two.conn.session.current().ID; a != b || a == "" {
			t.Fatalf("they are %q and %q", a, b)
		}
		one.join("room:a", `{}`)
		two.join("room:a", `{}`)
		time.Sleep(50 * time.Second) // of the test's own clock
		one.text(`["1","2","room:a","access_token",{"access_token":"new"}]`)
		one.want(`["1","2","room:a","phx_reply",{"status":"ok","response":{}}]`)
		two.text(beat) // or it ends for its silence, at the same time
		two.want(beaten)
		if got := two.next(); got != "close 1008" || time.Since(start) != time.Minute {
			t.Fatalf("%s after %s", got, time.Since(start))
		}
		if got := one.beating(50 * time.Second); got != "close 1008" || time.Since(start) != 110*time.Second {
			t.Fatalf("%s after %s", got, time.Since(start))
		}
		one.Close()
		two.Close()
	})
}

// TestHooksThatFail has the application's hooks do what they should not: it is
// the end of nothing but what was asked.
func TestHooksThatFail(t *testing.T) {
	for name, renew := range map[string]func(context.Context, *channels.Socket, string) (*channels.Socket, error){
		"panics":             func(context.Context, *channels.Socket, string) (*channels.Socket, error) { panic("hook") },
		"panics with an end": func(context.Context, *channels.Socket, string) (*channels.Socket, error) { panic(http.ErrAbortHandler) },
		"forgets":            func(context.Context, *channels.Socket, string) (*channels.Socket, error) { return nil, nil },
		"waits for ever": func(ctx context.Context, _ *channels.Socket, _ string) (*channels.Socket, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	} {
		for transport, connect := range map[string]func(*rig) peer{
			"websocket": func(r *rig) peer { return r.connect(phoenix.Version2) },
			"longpoll":  func(r *rig) peer { return r.poll(phoenix.Version2) },
		} {
			t.Run(name+" on "+transport, func(t *testing.T) {
				bubble(t, func(c *Config) { c.Renew = renew }, func(t *testing.T, r *rig) {
					start := time.Now()
					c := connect(r)
					c.text(`["1","1","room:a","phx_join",{}]`)
					c.next()
					c.text(`["1","2","room:a","access_token",{"access_token":"x"}]`)
					if got := c.next(); got != `["1","2","room:a","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]` {
						t.Fatal(got)
					}
					c.text(beat)
					if got := c.next(); got != beaten {
						t.Fatal(got)
					}
					if took := time.Since(start); took > r.endpoint.config.HandshakeTimeout {
						t.Fatalf("took %s", took)
					}
				})
			})
		}
	}
}

// explosive is an application's value that panics when it is encoded.
type explosive struct{}

func (explosive) MarshalJSON() ([]byte, error) { panic("encoded") }

func TestConnectionAge(t *testing.T) {
	adjust := func(c *Config) { c.MaxConnectionAge, c.HeartbeatTimeout = 10*time.Minute, time.Hour }
	bubble(t, adjust, func(t *testing.T, r *rig) {
		start := time.Now()
		c := r.connect(phoenix.Version2)
		c.want("close 1012")
		if age := time.Since(start); age < 9*time.Minute || age > 11*time.Minute {
			t.Fatal(age)
		}
		c.Close()
	})
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if got := spread(time.Minute); got < 54*time.Second || got > 66*time.Second {
			t.Fatal(got)
		}
	}
	_ = spread(1)
}

func TestList(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		if got := r.endpoint.List(); len(got) != 0 {
			t.Fatal(got)
		}
		first := time.Now()
		c := r.connectUntil(time.Time{})
		c.join("room:a", `{}`)
		c.join("room:b", `{}`)
		time.Sleep(time.Second) // of the test's own clock
		r.poll(phoenix.Version2)
		got := r.endpoint.List()
		want := []SocketInfo{
			{ID: "user", Mount: "/socket", Transport: "websocket", RemoteAddr: "there", Channels: 2, Opened: time.Unix(0, first.UnixNano())},
			{ID: r.endpoint.idOf(2), Mount: "/socket", Transport: "longpoll", RemoteAddr: "192.0.2.1:1234", Opened: time.Unix(0, first.Add(time.Second).UnixNano())},
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Fatal(got)
		}
	})
}
