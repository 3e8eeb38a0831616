package swarm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Publisher puts events where a server takes them. It is for one goroutine at a
// time.
type Publisher interface {
	// Publish returns when the server has taken all events, in their order.
	Publish(ctx context.Context, events []Event) error
	Close() error
}

// EventName is what all events of a load are called.
const EventName = "tick"

// Poster publishes by POST of JSON lines, such as
//
//	{"topic":"bench:7","event":"tick","payload":{"n":0,"t":7,"at":0,"pad":"…"}}
//
// to Sluice's /api/events and /api/broadcast, and to whatever takes the same.
type Poster struct {
	// URL takes the lines. A status of 2xx says that it took them all.
	URL string
	// Token is the bearer token. Empty: none.
	Token  string
	Load   Load
	Prefix string // of topics, as in Config

	client http.Client // with a transport of its own: Close closes its connections only
	body   []byte      // reused
}

// Publish implements [Publisher].
func (p *Poster) Publish(ctx context.Context, events []Event) error {
	p.body = p.body[:0]
	for _, e := range events {
		p.body = append(p.body, `{"topic":`...)
		p.body = strconv.AppendQuote(p.body, p.Prefix+strconv.Itoa(e.Topic))
		p.body = append(p.body, `,"event":"`+EventName+`","payload":`...)
		p.body = p.Load.AppendPayload(p.body, e)
		p.body = append(p.body, '}', '\n')
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(p.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if p.Token != "" {
		request.Header.Set("Authorization", "Bearer "+p.Token)
	}
	if p.client.Transport == nil {
		p.client.Transport = &http.Transport{}
	}
	answer, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("publish %d events: %w", len(events), err)
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return fmt.Errorf("publish %d events: %w", len(events), err)
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("publish %d events: %s answered %d %s", len(events), p.URL, answer.StatusCode, text)
	}
	return nil
}

// Close implements [Publisher].
func (p *Poster) Close() error {
	p.client.CloseIdleConnections()
	return nil
}
