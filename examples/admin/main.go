// Admin has a second mount, for those who look after the users of the first:
// it shows connect hooks that name sockets, and a channel that closes them.
//
//	go run ./examples/admin
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"log"
	"net/http"
	"os"
	"os/signal"

	"github.com/sluicehq/sluice"
)

const try = `Open http://127.0.0.1:4000/healthz in two windows. In the console of one, as a user:
  user = new WebSocket("ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0&user=ann"); user.onclose = console.log
In the other, as an admin:
  ws = new WebSocket("ws://127.0.0.1:4000/admin/websocket?vsn=2.0.0&token=%s"); ws.onmessage = (m) => console.log(m.data)
  ws.send('["1","1","users","phx_join",{}]')
  ws.send('["1","2","users","list",{}]')
  ws.send('["1","3","users","disconnect",{"id":"ann"}]')`

// users is what admins may do. They are let in by the hook of their mount, so
// that here everything is allowed.
type users struct{ service *sluice.Service }

func (u *users) Join(*sluice.Context, sluice.Payload) (any, error) { return nil, nil }

func (u *users) HandleIn(_ *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	var ask struct{ ID string }
	switch err := payload.Decode(&ask); {
	case event == "list":
		sockets, _ := u.service.Sockets(100)
		return sluice.OK(sockets)
	case event == "disconnect" && err == nil:
		return sluice.OK(map[string]int{"closed": u.service.Disconnect(ask.ID)})
	}
	return sluice.Error(sluice.Reason("not understood"))
}

func main() {
	token := rand.Text()
	log.Printf(try, token)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, sluice.Config{}, token); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, config sluice.Config, token string) error {
	service, err := sluice.New(config)
	if err != nil {
		return err
	}
	service.OnConnect(func(_ context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
		return &sluice.Socket{ID: r.Params.Get("user")}, nil
	})
	admin, err := service.Mount("/admin", func(_ context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
		if subtle.ConstantTimeCompare([]byte(r.Params.Get("token")), []byte(token)) != 1 {
			return nil, &sluice.Refusal{Status: http.StatusUnauthorized, Reason: "wrong token"}
		}
		return &sluice.Socket{ID: "admin"}, nil
	})
	if err != nil {
		return err
	}
	if err := admin.Handle("users", func() sluice.Channel { return &users{service} }); err != nil {
		return err
	}
	return service.Run(ctx)
}
