// Dashboard has a query that takes its time: it shows a channel that answers
// later, while it goes on and its client's heartbeat does too.
//
//	go run ./examples/dashboard
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
  ws.send('["1","1","dashboard","phx_join",{}]')
  ws.send('["1","2","dashboard","report",{"region":"eu"}]')
  ws.send('["1","3","dashboard","ping",{}]')`

// query is what takes long. It gives up when ctx ends.
type query func(ctx context.Context, region string) (orders int, err error)

type dashboard struct{ query query }

func (d *dashboard) Join(*sluice.Context, sluice.Payload) (any, error) { return nil, nil }

func (d *dashboard) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	var ask struct{ Region string }
	if err := payload.Decode(&ask); err != nil || event != "report" {
		return sluice.OK(nil) // at once, whatever queries are under way
	}
	request := ctx.ReplyTo()
	err := ctx.Async(func(life context.Context) { // life ends with the channel, and the query with it
		orders, err := d.query(life, ask.Region)
		if err != nil {
			request.Error(sluice.Reason("no report"))
			return
		}
		request.OK(map[string]int{"orders": orders})
	})
	if err != nil {
		return sluice.Error(sluice.Reason("too many reports at once"))
	}
	return sluice.NoReply()
}

func slow(ctx context.Context, region string) (int, error) {
	select {
	case <-time.After(3 * time.Second):
		return 100 * len(region), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func main() {
	log.Print(try)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, sluice.Config{}, slow); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, config sluice.Config, query query) error {
	service, err := sluice.New(config)
	if err != nil {
		return err
	}
	if err := service.Handle("dashboard", func() sluice.Channel { return &dashboard{query} }); err != nil {
		return err
	}
	return service.Run(ctx)
}
