// Ticker pushes at an interval that its client chooses and changes: it shows a
// channel with a timer, whose messages it handles in turn with its client's.
//
//	go run ./examples/ticker
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/sluicehq/sluice"
)

const try = `Open http://127.0.0.1:4000/healthz, and in the console of that page:
  ws = new WebSocket("ws://127.0.0.1:4000/socket/websocket?vsn=2.0.0"); ws.onmessage = (m) => console.log(m.data)
  ws.send('["1","1","ticker","phx_join",{"every":1000}]')
  ws.send('["1","2","ticker","change",{"every":100}]')
  ws.send('["1","3","ticker","stop",{}]')`

type ticker struct {
	timer *sluice.Timer
	count int
}

func (t *ticker) Join(ctx *sluice.Context, params sluice.Payload) (any, error) {
	return nil, t.change(ctx, params)
}

func (t *ticker) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	switch {
	case event == "stop":
		return sluice.OK(nil).ThenStop(nil)
	case event != "change" || t.change(ctx, payload) != nil:
		return sluice.Error(sluice.Reason("not understood"))
	}
	return sluice.OK(nil)
}

func (t *ticker) change(ctx *sluice.Context, payload sluice.Payload) (err error) {
	var ask struct{ Every int } // milliseconds
	if err := payload.Decode(&ask); err != nil || ask.Every < 1 {
		return sluice.Reject("how often?")
	}
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer, err = ctx.Every(time.Duration(ask.Every)*time.Millisecond, nil)
	return err
}

// HandleInfo gets what the timer sends, between what the client does.
func (t *ticker) HandleInfo(ctx *sluice.Context, _ any) sluice.Result {
	t.count++
	_ = ctx.Push("tick", map[string]int{"count": t.count}) // an error: the client has gone, and so will this
	return sluice.NoReply()
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
	if err := service.Handle("ticker", func() sluice.Channel { return &ticker{} }); err != nil {
		return err
	}
	return service.Run(ctx)
}
