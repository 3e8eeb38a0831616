package sluice_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/sluicetest"
)

// What stands in the README under "Channels of your own, in Go": the same text.

type room struct{ user string }

func (r *room) Join(ctx *sluice.Context, params sluice.Payload) (any, error) {
	var who struct{ User string }
	if err := params.Decode(&who); err != nil || who.User == "" {
		return nil, sluice.Reject("say who you are")
	}
	r.user = who.User
	return map[string]string{"welcome": r.user}, nil
}

func (r *room) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	if err := ctx.Publish(event, payload, nil); err != nil { // to the log, and so to everyone in the room
		return sluice.Error(sluice.Reason("try again"))
	}
	return sluice.OK(nil)
}

func serve(ctx context.Context, config sluice.Config) error {
	service, err := sluice.New(config) // sluice.DefaultConfig(), with what is to be otherwise
	if err != nil {
		return err
	}
	if err := service.Handle("room:*", func() sluice.Channel { return &room{} }); err != nil {
		return err
	}
	return service.Run(ctx) // until ctx ends; then it drains
}

// A service with a channel of its own, from its start to its end.
func Example() {
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen, config.DataDir = "127.0.0.1:0", "127.0.0.1:0", dir
	config.Logger = slog.New(slog.DiscardHandler)
	config.OnListen = func(public, _ net.Addr) {
		fmt.Println("sockets connect to ws://127.0.0.1:…" + config.SocketPath)
		stop()
	}
	fmt.Println("ended:", serve(ctx, config))

	// Output:
	// sockets connect to ws://127.0.0.1:…/socket
	// ended: <nil>
}

func TestExample(t *testing.T) {
	t.Parallel()
	client := sluicetest.Run(t, serve).Connect("/socket", "")
	client.Send(`["1","1","room:1","phx_join",{}]`)
	client.Expect(`["1","1","room:1","phx_reply",{"status":"error","response":{"reason":"say who you are"}}]`)
	client.Send(`["2","2","room:1","phx_join",{"user":"ann"}]`)
	client.Expect(`["2","2","room:1","phx_reply",{"status":"ok","response":{"welcome":"ann"}}]`)
	client.Send(`["2","3","room:1","say",{"text":"hello"}]`)
	came := map[string]bool{client.Next(): true, client.Next(): true} // in either order: durable is answered, delivered comes by the line
	for _, want := range []string{
		`["2","3","room:1","phx_reply",{"status":"ok","response":{}}]`,
		`[null,null,"room:1","say",{"text":"hello"}]`,
	} {
		if !came[want] {
			t.Errorf("%s did not come, but %v", want, came)
		}
	}
}
