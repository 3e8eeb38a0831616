package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/internal/logtail"
	"github.com/sluicehq/sluice/internal/timeline"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/socket"
	"github.com/sluicehq/sluice/store"
)

// ConsoleTopic is what the console page joins to be told what the node does. It is served on
// the console's own socket alone, and never broadcast to: what is told of a node is
// pushed to each console by itself, so that nobody gets it who joins a topic of that name
// elsewhere.
const ConsoleTopic = store.OwnTopics + "console"

// How many topics, sockets and records of the log a console is told at most.
const (
	listedTopics  = 50
	listedSockets = 50
	listedRecords = 50
)

// restFactor is how many times as long as it took to gather what consoles are told nothing
// is gathered again: with a million topics, it takes a while. maxRest bounds that: on a
// machine that is short of time all takes long, and somebody is looking.
const (
	restFactor = 20
	maxRest    = 5 * time.Second
)

// Feed tells consoles what the node does, as long as there are any.
type Feed struct {
	config func() Config      // immutable
	client socket.ConnectFunc // likewise

	rests time.Time // until when nothing is gathered; owned by Tell

	mu       sync.Mutex
	consoles map[*channels.Context]struct{} // guarded by mu
}

// NewFeed makes a feed of what a handler with that configuration shows; it is asked for once
// the node runs. client is the connect hook of clients.
func NewFeed(config func() Config, client socket.ConnectFunc) *Feed {
	return &Feed{config: config, client: client, consoles: make(map[*channels.Context]struct{})}
}

// Channel is the factory of the channel that consoles join.
func (f *Feed) Channel() channels.Channel { return &consoleChannel{f} }

// Tell has all consoles told what the node does now. It waits for none of them. It is
// called by one goroutine at a time, whenever there is something new.
func (f *Feed) Tell() {
	consoles := f.all()
	began := time.Now()
	if len(consoles) == 0 || began.Before(f.rests) {
		return
	}
	text, err := json.Marshal(f.overview())
	if err != nil {
		return // there is nothing in it that cannot be encoded
	}
	f.rests = time.Now().Add(min(restFactor*time.Since(began), maxRest))
	for _, console := range consoles {
		_ = console.Send(overviewText(text)) // who has many waiting, or has just ended, needs no more
	}
}

func (f *Feed) all() (list []*channels.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for console := range f.consoles {
		list = append(list, console)
	}
	return list
}

func (f *Feed) add(console *channels.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.consoles[console] = struct{}{}
}

func (f *Feed) remove(console *channels.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.consoles, console)
}

// consoleChannel is one console's.
type consoleChannel struct{ feed *Feed }

// overviewText is an overview as JSON.
type overviewText []byte

// Join implements [channels.Channel]: it answers with the last minutes, and what is now.
func (c *consoleChannel) Join(ctx *channels.Context, _ channels.Payload) (any, error) {
	c.feed.add(ctx)
	return struct {
		History  history  `json:"history"`
		Overview overview `json:"overview"`
	}{c.feed.history(), c.feed.overview()}, nil
}

// HandleInfo implements [channels.InfoHandler].
func (c *consoleChannel) HandleInfo(ctx *channels.Context, message any) channels.Result {
	if text, ok := message.(overviewText); ok {
		_ = ctx.Push("overview", channels.Payload{Data: text}) // a console that is too slow gets the next one
	}
	return channels.NoReply()
}

// HandleIn implements [channels.InHandler]: a console may ask what each node does, and
// whether a client with a token, or none, may connect.
func (c *consoleChannel) HandleIn(ctx *channels.Context, event string, payload channels.Payload) channels.Result {
	switch event {
	case "nodes":
		a := &api{Config: c.feed.config()}
		return channels.OK(a.allStats(ctx.Context()))
	case "check":
		return c.check(ctx, payload)
	}
	return channels.Error(channels.Reason("forbidden"))
}

// check answers what a client would be told that connects with a token.
func (c *consoleChannel) check(ctx *channels.Context, payload channels.Payload) channels.Result {
	var asked struct {
		Token string `json:"token"`
	}
	if err := payload.Decode(&asked); err != nil {
		return channels.Error(channels.Reason("no token"))
	}
	params := socket.Params{}
	if asked.Token != "" {
		params["token"] = asked.Token
	}
	limited, cancel := context.WithTimeout(ctx.Context(), socket.DefaultHandshakeTimeout)
	defer cancel()
	_, err := c.feed.client(limited, &socket.ConnectRequest{Params: params, Header: http.Header{}, RemoteAddr: ctx.Socket().RemoteAddr})
	refusal := new(socket.Refusal)
	switch {
	case errors.As(err, &refusal):
		return channels.Error(channels.Reason(refusal.Reason))
	case err != nil:
		return channels.Error(channels.Reason("connection refused"))
	}
	return channels.OK(nil)
}

// Terminate implements [channels.Terminator].
func (c *consoleChannel) Terminate(ctx *channels.Context, _ error) { c.feed.remove(ctx) }

// overview is what consoles are told, over and over.
type overview struct {
	stats
	At        time.Time          `json:"at"`
	Sample    samples            `json:"sample"` // the last one, if there is any yet
	Busiest   []consoleTopic     `json:"busiest"`
	Slowest   socketList         `json:"slowest"`
	Presences int                `json:"presences"`
	Log       []logtail.Record   `json:"log"` // the newest first
	Nodes     []nodeInfo         `json:"nodes"`
	Counts    map[string]reasons `json:"counts"` // since the start
}

// reasons are how often something happened, by reason.
type reasons map[string]int64

// consoleTopic is a topic, and how many presences there are on it.
type consoleTopic struct {
	topicInfo
	Present int `json:"present"`
}

// mishaps are the counters that consoles are shown: what went wrong, and why.
var mishaps = map[string]struct {
	name metrics.Name
	key  string
}{
	"refused":  {metrics.SocketsRefused, "reason"},
	"closed":   {metrics.SocketsClosed, "reason"},
	"dropped":  {metrics.MessagesDropped, "reason"},
	"rejected": {metrics.EventsRejected, "reason"},
	"joins":    {metrics.Joins, "status"},
	"failed":   {metrics.StageErrors, "stage"},
}

func (f *Feed) overview() overview {
	a := &api{Config: f.config()}
	o := overview{
		stats:     a.stats(),
		At:        time.Now(),
		Busiest:   []consoleTopic{},
		Presences: a.Presences.Held(),
		Log:       a.Tail.Records(),
		Nodes:     a.nodes(),
		Counts:    map[string]reasons{},
	}
	if last, _, ok := a.Timeline.Last(); ok {
		o.Sample.add(last)
	}
	for _, each := range a.Hub.Busiest(listedTopics) {
		o.Busiest = append(o.Busiest, consoleTopic{topicInfo(each), a.Presences.Count(each.Topic)})
	}
	o.Slowest.Sockets, o.Slowest.Total = a.Node.SlowestSockets(listedSockets)
	o.Log = o.Log[:min(len(o.Log), listedRecords)]
	for what, of := range mishaps {
		o.Counts[what] = a.Metrics.Totals(of.name, of.key)
	}
	return o
}

// history are samples, the oldest first, each of their numbers in a list of its own, as
// curves are drawn from.
type history = samples

// samples have a sample in the same place of each list.
type samples struct {
	At     []int64            `json:"at"` // Unix milliseconds
	Routed []float64          `json:"routed"`
	Pushed []float64          `json:"pushed"`
	P50    []timeline.Seconds `json:"p50"`
	P99    []timeline.Seconds `json:"p99"`
	Lag    []int64            `json:"lag"`
	Outbox []int64            `json:"outbox"`
}

func (s *samples) add(one timeline.Sample) {
	s.At, s.Routed, s.Pushed = append(s.At, one.At.UnixMilli()), append(s.Routed, one.Routed), append(s.Pushed, one.Pushed)
	s.P50, s.P99 = append(s.P50, one.P50), append(s.P99, one.P99)
	s.Lag, s.Outbox = append(s.Lag, one.Lag), append(s.Outbox, one.OutboxRows)
}

func (f *Feed) history() (all samples) {
	for _, one := range f.config().Timeline.Samples() {
		all.add(one)
	}
	return all
}

// SlowestFirst puts the sockets first that have channels behind, then those for whose
// clients most waits, then the oldest ones.
func SlowestFirst(a, b socket.SocketInfo) int {
	switch {
	case a.Behind != b.Behind:
		return b.Behind - a.Behind
	case a.Mailbox != b.Mailbox:
		return b.Mailbox - a.Mailbox
	}
	return a.Opened.Compare(b.Opened)
}
