// Application is what people write with Sluice: a program with channels of its
// own. The tests of package e2e run it to see, on the wire, what the service's
// own channels never do: they neither push to one client, nor answer later, nor
// crash.
package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/sluicehq/sluice"
)

func main() {
	logger := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, logger); err != nil {
		logger.Error("serve", "error", err)
		os.Exit(1)
	}
}

// serve runs a service with its embedded store in the folder that the program
// is given. Whoever connects to /full is one too many.
func serve(ctx context.Context, logger *slog.Logger) error {
	config := sluice.DefaultConfig()
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.DataDir = os.Args[1]
	config.InboundQueue = 64            // so that a test fills it soon
	config.HeartbeatTimeout = time.Hour // no client that a busy machine keeps from running is taken for gone
	config.Logger = logger
	config.OnListen = func(public, admin net.Addr) {
		logger.Info("serving", "socket", "ws://"+public.String()+config.SocketPath, "console", "http://"+admin.String())
	}
	service, err := sluice.New(config)
	if err != nil {
		return err
	}
	service.OnConnect(remember)
	if _, err := service.Mount("/full", turnAway); err != nil {
		return err
	}
	if err := service.Handle("room:*", func() sluice.Channel { return &room{} }); err != nil {
		return err
	}
	return service.Run(ctx)
}

// remember lets everyone in, and keeps what they said in connecting.
func remember(_ context.Context, r *sluice.ConnectRequest) (*sluice.Socket, error) {
	return &sluice.Socket{Assigns: map[string]any{"params": r.Params, "token": r.Token}}, nil
}

func turnAway(context.Context, *sluice.ConnectRequest) (*sluice.Socket, error) {
	return nil, &sluice.Refusal{Status: http.StatusTooManyRequests, Reason: "come again later"}
}

// gates hold up what rooms do until someone opens them, by name.
var gates sync.Map

// gate is what everyone waits at who gives the same name.
func gate(name string) *sync.WaitGroup {
	fresh := new(sync.WaitGroup)
	fresh.Add(1)
	one, _ := gates.LoadOrStore(name, fresh)
	return one.(*sync.WaitGroup)
}

// errFell is a failure of a room's own making.
var errFell = errors.New("fell over")

// room does what it is told, each in a different way of handling an event.
type room struct{ said int }

func (r *room) Join(_ *sluice.Context, params sluice.Payload) (any, error) {
	var with struct {
		Panic   bool
		Fail    bool
		Reject  string
		Welcome any
	}
	if err := params.Decode(&with); err != nil {
		return nil, sluice.Reject("params are no object")
	}
	switch {
	case with.Panic:
		panic("joined badly")
	case with.Fail:
		return nil, errFell
	case with.Reject != "":
		return nil, sluice.Reject(with.Reject)
	}
	return with.Welcome, nil
}

func (r *room) HandleIn(ctx *sluice.Context, event string, payload sluice.Payload) sluice.Result {
	switch event {
	case "echo":
		return sluice.OK(payload)
	case "complain":
		return sluice.Error(payload)
	case "recall": // what was said in connecting
		return sluice.OK(ctx.Socket().Assigns)
	case "count": // state that no other channel has
		r.said++
		return sluice.OK(map[string]int{"said": r.said})
	case "push":
		return answer(ctx.Push("pushed", payload))
	case "broadcast":
		return answer(ctx.Broadcast("broadcast", payload))
	case "broadcast_from":
		return answer(ctx.BroadcastFrom("broadcast", payload))
	case "wait": // holds up this channel, and no other
		if err := ctx.Push("waiting", nil); err != nil {
			return sluice.Stop(err)
		}
		gate(gateOf(payload)).Wait()
		return sluice.OK(nil)
	case "open":
		gate(gateOf(payload)).Done()
		return sluice.OK(nil)
	case "later":
		to := ctx.ReplyTo()
		return answerNot(ctx.Async(func(context.Context) {
			gate(gateOf(payload)).Wait()
			to.OK(payload)
		}))
	case "panic":
		panic("told to")
	case "fall":
		return sluice.Stop(errFell)
	case "stop":
		return sluice.Stop(nil)
	case "answer_and_stop":
		return sluice.OK(payload).ThenStop(nil)
	}
	return sluice.NoReply()
}

func answer(err error) sluice.Result {
	if err != nil {
		return sluice.Error(sluice.Reason(err.Error()))
	}
	return sluice.OK(nil)
}

func answerNot(err error) sluice.Result {
	if err != nil {
		return answer(err)
	}
	return sluice.NoReply()
}

// gateOf reads the name of the gate that an event is about.
func gateOf(payload sluice.Payload) string {
	var about struct{ Gate string }
	_ = payload.Decode(&about) // a payload without one is about the nameless gate
	return about.Gate
}
