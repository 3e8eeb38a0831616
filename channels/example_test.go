package channels_test

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/channels"
)

// room is a chat room, as one of the people in it sees it.
type room struct {
	name string
	said int
}

// Join wants to know who comes.
func (r *room) Join(ctx *channels.Context, params channels.Payload) (any, error) {
	var who struct{ Name string }
	if err := params.Decode(&who); err != nil || who.Name == "" {
		return nil, channels.Reject("name missing")
	}
	r.name = who.Name
	_, err := ctx.Every(time.Minute, "remind")
	return map[string]string{"welcome": r.name}, err
}

// HandleIn passes on what is said, and looks up the history without keeping the
// room waiting.
func (r *room) HandleIn(ctx *channels.Context, event string, p channels.Payload) channels.Result {
	switch event {
	case "say":
		r.said++
		if err := ctx.Broadcast("said", map[string]any{"by": r.name, "text": p}); err != nil {
			return channels.Error(channels.Reason("not sent"))
		}
		return channels.OK(nil)
	case "history":
		reply := ctx.ReplyTo()
		err := ctx.Async(func(ctx context.Context) { reply.OK(history(ctx)) })
		if err != nil {
			return channels.Error(channels.Reason("busy"))
		}
		return channels.NoReply()
	}
	return channels.Error(channels.Reason("unknown event"))
}

// HandleInfo throws out who says nothing.
func (r *room) HandleInfo(ctx *channels.Context, _ any) channels.Result {
	if r.said == 0 {
		return channels.Stop(nil)
	}
	r.said = 0
	return channels.NoReply()
}

// Terminate says goodbye to the others.
func (r *room) Terminate(ctx *channels.Context, _ error) {
	_ = ctx.Broadcast("left", map[string]string{"name": r.name})
}

func history(context.Context) []string { return []string{"a slow query's result"} }

// A room is served under a pattern. Every join gets one of its own.
func ExampleRoutes() {
	var routes channels.Routes
	err := routes.Handle("room:*", func() channels.Channel { return new(room) })
	fmt.Println(err, routes.Find("room:lobby") != nil, routes.Find("kitchen") != nil)
	// Output: <nil> true false
}
