package socket

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/connlimit"
)

// saidUser has clients be who their parameter user says.
func saidUser(c *Config) {
	c.Connect = func(_ context.Context, r *ConnectRequest) (*channels.Socket, error) {
		return &channels.Socket{ID: r.Params.Get("user")}, nil
	}
}

// connecting returns functions that connect over each transport, and say how that is answered.
func connecting(t *testing.T, r *rig) (poll func(query string) string, socket func(query string) (int, *client)) {
	listener := r.serveInMemory()
	poll = func(query string) string {
		t.Helper()
		w := httptest.NewRecorder()
		r.endpoint.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket/longpoll?vsn=2.0.0"+query, nil))
		return w.Body.String()
	}
	socket = func(query string) (int, *client) {
		t.Helper()
		resp, c := shakeOn(t, listener.Dial(), upgrade("?vsn=2.0.0"+query))
		return resp.StatusCode, c
	}
	return poll, socket
}

// TestConnectionsOfAUser: sessions of all transports count for the user that a client is, and
// count no longer when they have ended. Who is nobody is not bounded.
func TestConnectionsOfAUser(t *testing.T) {
	shared := connlimit.NewUsers(2)
	bubble(t, func(c *Config) { saidUser(c); c.Users = shared }, func(t *testing.T, r *rig) {
		poll, socket := connecting(t, r)
		_, first := socket("&user=7")
		if body := poll("&user=7"); !strings.Contains(body, `"status":410`) {
			t.Fatalf("a long-poll is answered %s", body)
		}
		if body := poll("&user=7"); !strings.Contains(body, `"status":500`) {
			t.Errorf("a long-poll beyond the bound is answered %s", body)
		}
		if status, _ := socket("&user=7"); status != 503 {
			t.Errorf("a socket beyond the bound is answered %d", status)
		}
		for range 3 {
			if status, _ := socket(""); status != 101 {
				t.Errorf("nobody is answered %d", status)
			}
		}
		if status, _ := socket("&user=8"); status != 101 {
			t.Errorf("another user is answered %d", status)
		}
		first.Close()
		synctest.Wait()
		if n := r.endpoint.Sockets(); n != 5 {
			t.Errorf("once one has closed there are %d", n)
		}
		if status, _ := socket("&user=7"); status != 101 {
			t.Errorf("where one has closed another is answered %d", status)
		}
		if status, _ := socket("&user=7"); status != 503 {
			t.Errorf("one beyond the bound again is answered %d", status)
		}
	})
}

// TestConnectionsOfASecond: of clients that come at once so many are taken, and the others
// once time has gone by. Who is refused for another reason counts, and nobody is asked of
// whom there are too many.
func TestConnectionsOfASecond(t *testing.T) {
	asked := 0
	pace := func(c *Config) {
		c.Pace = rate.NewLimiter(3, 3)
		c.Connect = func(context.Context, *ConnectRequest) (*channels.Socket, error) {
			asked++
			return &channels.Socket{}, nil
		}
	}
	bubble(t, pace, func(t *testing.T, r *rig) {
		asked = 0
		poll, socket := connecting(t, r)
		time.Sleep(time.Second) // of the test's own clock: the time before has gone by
		taken := func() (n int) {
			for range 5 {
				if status, _ := socket(""); status == 101 {
					n++
				} else if status != 503 {
					t.Errorf("a socket is answered %d", status)
				}
			}
			return n
		}
		if n := taken(); n != 3 || asked != 3 {
			t.Errorf("of 5 at once %d are taken, and %d asked about", n, asked)
		}
		if body := poll(""); !strings.Contains(body, `"status":500`) {
			t.Errorf("a long-poll is answered %s", body)
		}
		time.Sleep(time.Second)
		if n := taken(); n != 3 {
			t.Errorf("a second later %d are taken", n)
		}
		time.Sleep(time.Second / 2)
		if n := taken(); n != 1 {
			t.Errorf("half a second later %d are", n)
		}
	})
}
