package sluice_test

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// echo answers a client with what it pushes, or tells everyone if that is a
// "shout".
type echo struct{ greeting string }

func (e *echo) Join(*sluice.Context, sluice.Payload) (any, error) {
	return map[string]string{"greeting": e.greeting}, nil
}

func (e *echo) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	if event != "shout" {
		return sluice.OK(payload)
	}
	if err := ctx.Broadcast(event, payload); err != nil {
		return sluice.Stop(err)
	}
	return sluice.NoReply()
}

// named lets everyone in, by the name that they say.
func named(_ context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
	return &sluice.Socket{ID: r.Params.Get("name")}, nil
}

// start runs a service that is set up in a way of its own.
func start(t *testing.T, setUp func(*sluice.Service) error) *sluicetest.Node {
	t.Helper()
	return sluicetest.Run(t, sluicetest.WithService(func(*sluice.Config) {}, setUp))
}

func TestMountErrors(t *testing.T) {
	t.Parallel()
	service, err := sluice.New(sluice.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/admin", "/v1/admin", "/console"} { // the console's own is on the other listener
		mount, err := service.Mount(path, named)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if err := mount.Handle("bad*pattern", nil); err == nil {
			t.Errorf("%q takes any pattern", path)
		}
	}
	for _, path := range []string{
		"", "/", "admin", "/admin/", "/a//b", "/a b", "/a/../b", "/.", "/{any}", "/ä", "/a?b", // not a path
		"/admin", "/socket", "/healthz", // taken
	} {
		if _, err := service.Mount(path, named); err == nil {
			t.Errorf("%q was mounted", path)
		}
	}
	if _, err := service.Mount("/free", nil); err == nil {
		t.Error("mounted without a hook")
	}
}

func TestMounts(t *testing.T) {
	t.Parallel()
	node := start(t, func(service *sluice.Service) error {
		staff, err := service.Mount("/staff", named)
		return errors.Join(err,
			service.Handle("room:*", func() sluice.Channel { return &echo{"customer"} }),
			staff.Handle("room:*", func() sluice.Channel { return &echo{"colleague"} }))
	})
	customer, colleague := node.Connect("/socket", ""), node.Connect("/staff", "name=eve")
	customer.Send(`["1","1","room:1","phx_join",{}]`)
	customer.Expect(`["1","1","room:1","phx_reply",{"status":"ok","response":{"greeting":"customer"}}]`)
	colleague.Send(`["1","1","room:1","phx_join",{}]`)
	colleague.Expect(`["1","1","room:1","phx_reply",{"status":"ok","response":{"greeting":"colleague"}}]`)

	colleague.Send(`["1","2","room:1","shout",{"at":"all"}]`) // topics know no mounts
	customer.Expect(`[null,null,"room:1","shout",{"at":"all"}]`)
	colleague.Expect(`[null,null,"room:1","shout",{"at":"all"}]`)

	customer.Send(`["2","3","hall","phx_join",{}]`) // open, as any topic of the first mount
	customer.Expect(`["2","3","hall","phx_reply",{"status":"ok","response":{}}]`)
	colleague.Send(`["2","3","hall","phx_join",{}]`) // not handled there
	colleague.Expect(`[null,"3","hall","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]`)
}

func TestOnConnect(t *testing.T) {
	t.Parallel()
	node := start(t, func(service *sluice.Service) error {
		service.OnConnect(func(ctx context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
			switch r.Params.Get("name") {
			case "":
				return nil, errors.New("who is it?")
			case "pest":
				return nil, &sluice.Refusal{Status: http.StatusTooManyRequests, Reason: "not again"}
			}
			return service.Authenticate(ctx, r)
		})
		return nil
	})
	for params, want := range map[string]int{"": http.StatusForbidden, "name=pest": http.StatusTooManyRequests} {
		if got := node.Refused("/socket", params); got != want {
			t.Errorf("with %q: answered %d, want %d", params, got, want)
		}
	}
	guest := node.Connect("/socket", "name=guest")
	guest.Send(`["1","1","hall","phx_join",{}]`)
	guest.Expect(`["1","1","hall","phx_reply",{"status":"ok","response":{}}]`)
}

// TestWriteTimeout has a client read nothing: it is sent away after as long as the
// configuration says, though its rule says that it may catch up.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	n := sluicetest.Run(t, sluicetest.With(func(c *sluice.Config) { c.WriteTimeout = time.Second }))
	n.Connect("/socket", "").Send(`["1","1","big","phx_join",{"after":0}]`)
	event := `{"topic":"big","event":"e","payload":{"x":"` + strings.Repeat("x", 900<<10) + `"}}`
	for range 24 { // more than a kernel keeps for both sides
		if status, answer := n.Request("POST", n.Admin, "/api/events", map[string]string{"Content-Type": "application/json"}, event); status != http.StatusAccepted {
			t.Fatal(status, answer)
		}
	}
	closed := regexp.MustCompile(`(?m)^sluice_sockets_closed_total\{.*reason="too_slow".*\} 1$`)
	n.Eventually("closed as too slow", func() bool { _, metrics := n.Ask("GET", "/metrics"); return closed.MatchString(metrics) })
}
