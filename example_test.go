package sluice_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

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
	service, err := sluice.New(config) // sluice.Config{} is what the program does with no flags
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

// The zero Config works as the program does with no flags. What a program has to say it
// publishes, or sends to whoever is there.
func ExampleService_Publish() {
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	service, err := sluice.New(sluice.Config{
		Listen: sluice.NoListener, AdminListen: sluice.NoListener, Anonymous: new(true), // see Handler
		DataDir: dir,
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- service.Run(ctx) }()

	order := sluice.Event{Topic: "orders:eu", Event: "created", Payload: map[string]int{"id": 7}}
	for err = service.Publish(ctx, order); errors.Is(err, sluice.ErrNotOpen); err = service.Publish(ctx, order) {
		time.Sleep(10 * time.Millisecond) // Run opens the log
	}
	fmt.Println("in the log:", err)
	fmt.Println("sent:", service.Broadcast("orders:eu", "typing", map[string]string{"who": "ann"}))
	fmt.Println(service.Broadcast("orders:eu", "phx_close", nil))
	stop()
	fmt.Println("ended:", <-ended)

	// Output:
	// in the log: <nil>
	// sent: <nil>
	// broadcast "phx_close" to "orders:eu": store: invalid event: event must not begin with "phx_": messages of the protocol or the service do
	// ended: <nil>
}

// A program with an HTTP server of its own serves the sockets there.
func ExampleService_Handler() {
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	service, err := sluice.New(sluice.Config{
		Listen:      sluice.NoListener,
		AdminListen: sluice.NoListener,
		Anonymous:   new(true), // no address tells who can reach it: say who may connect
		DataDir:     dir,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the program's own page") })
	mux.Handle("/socket/", service.Handler())
	server := httptest.NewServer(mux)
	defer server.Close()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- service.Run(ctx) }()

	for _, path := range []string{"/", "/socket/nothing"} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			panic(err)
		}
		fmt.Println(path, response.StatusCode)
		response.Body.Close()
	}
	stop()
	fmt.Println("ended:", <-ended)

	// Output:
	// / 200
	// /socket/nothing 404
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
