// Chatroom is a room where everyone has a name that nobody else there has: it
// shows a channel that keeps state, turns clients down, and speaks to all.
//
//	go run ./examples/chatroom
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"sync"

	"github.com/sluicehq/sluice"
)

const try = `Open http://127.0.0.1:4000/healthz in two windows, and in the console of each, with another name:
  ws = new WebSocket("ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0"); ws.onmessage = (m) => console.log(m.data)
  ws.send('["1","1","room:lobby","phx_join",{"name":"ann"}]')
  ws.send('["1","2","room:lobby","say",{"text":"hello"}]')`

// room is what happens in a room, for one guest.
type room struct {
	seat  struct{ topic, name string }
	taken *sync.Map // the seats of all guests
}

func (r *room) Join(ctx *sluice.Context, params sluice.Payload) (any, error) {
	var guest struct{ Name string }
	if err := params.Decode(&guest); err != nil || guest.Name == "" {
		return nil, sluice.Reject("name missing")
	}
	r.seat.topic, r.seat.name = ctx.Topic(), guest.Name
	if _, taken := r.taken.LoadOrStore(r.seat, true); taken {
		return nil, sluice.Reject("name taken")
	}
	_ = r.tell(ctx, "joined", "") // to the others: this guest hears nothing before the answer to the join
	return nil, nil
}

func (r *room) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	var remark struct{ Text string }
	if event != "say" || payload.Decode(&remark) != nil || r.tell(ctx, "said", remark.Text) != nil {
		return sluice.Error(sluice.Reason("not said"))
	}
	return sluice.OK(nil)
}

// Terminate is called however a guest goes: by leaving, or with the network.
func (r *room) Terminate(ctx *sluice.Context, _ error) {
	r.taken.Delete(r.seat)
	_ = r.tell(ctx, "left", "")
}

func (r *room) tell(ctx *sluice.Context, event, text string) error {
	return ctx.Broadcast(event, map[string]string{"name": r.seat.name, "text": text})
}

func main() {
	log.Print(try)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, sluice.Config{}); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, config sluice.Config) error {
	service, err := sluice.New(config)
	if err != nil {
		return err
	}
	var taken sync.Map
	if err := service.Handle("room:*", func() sluice.Channel { return &room{taken: &taken} }); err != nil {
		return err
	}
	return service.Run(ctx)
}
