package main

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice/socket/client"
)

// watchCmd joins a topic and prints what arrives.
type watchCmd struct {
	Topic string `arg:"" help:"Topic, such as orders:eu."`

	URL   string `placeholder:"URL" help:"Socket of the service, as a client is given it."`
	Token string `placeholder:"TOKEN" help:"Token to connect with."`
	After *int64 `help:"Offset to resume after; none: only what comes from now on."`
	Last  *int64 `placeholder:"K" help:"Begin with so many of the topic's last events, where there is no --after, or it cannot be resumed."`
	Count int    `help:"Leave after so many events; 0: stay."`
}

// Help says more than the one line of the summary.
func (w *watchCmd) Help() string {
	return `Each event is one line of compact JSON with the keys "topic", "event", "offset" and "payload", in this order. A broadcast is not logged, so its line has no "offset".

When the connection is lost it connects again and resumes where it stopped. What is not an event is told on standard error.`
}

// Examples implements exemplary.
func (w *watchCmd) Examples() string {
	return `sluice watch demo
sluice watch --after 0 orders:eu >orders.ndjson
sluice watch --last 10 --count 10 demo | jq .payload
sluice watch --url wss://example.org/socket --token "$TOKEN" orders:eu`
}

// Run is called by kong.
func (w *watchCmd) Run(ctx context.Context, p process) error {
	endpoint, err := websocketURL(w.URL)
	if err != nil {
		return err
	}
	if w.Topic == "" {
		return &usageError{"<topic>", "", "a topic, such as orders:eu"}
	}
	if w.After != nil && *w.After < 0 {
		return &usageError{"--after", fmt.Sprint(*w.After), "an offset from 0"}
	}
	if w.Last != nil && *w.Last < 0 {
		return &usageError{"--last", fmt.Sprint(*w.Last), "a number of events from 0"}
	}
	if w.Count < 0 {
		return &usageError{"--count", fmt.Sprint(w.Count), "a number of events, 0 to stay"}
	}
	watching := newWatcher(nil, w.Topic, p.stdout, isTerminal(p.stdout))
	watching.url, watching.options = endpoint, []client.Option{client.StaticToken(w.Token)}
	notes := terminalWriter{p.stderr} // what servers say is in them
	watching.tell = func(format string, args ...any) { fmt.Fprintf(notes, "sluice: "+format+"\n", args...) }
	watching.left, watching.after, watching.last = w.Count, w.After, w.Last
	return watching.run(ctx)
}

// websocketURL turns a socket's URL, as Phoenix clients are given it, into the
// one that is dialled.
func websocketURL(socket string) (string, error) {
	endpoint, err := client.Endpoint(socket)
	if err != nil {
		return "", &usageError{"--url", socket, "a URL such as " + defaults().Watch.URL}
	}
	return endpoint, nil
}
