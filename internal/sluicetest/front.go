package sluicetest

import (
	"context"
	"encoding/json"

	"github.com/sluicehq/sluice"
)

// What the tests of lower floors, which see a whole node here alone, say of it.
type (
	// Config is the node's.
	Config = sluice.Config
	// Service is what runs in the node.
	Service = sluice.Service
	// TopicRule is one of the configuration's.
	TopicRule = sluice.TopicRule
	// Webhook is an endpoint that the node sends events to.
	Webhook = sluice.Webhook
)

// With serves a service whose configuration has been changed, for [Run].
func With(change func(*Config)) func(context.Context, Config) error {
	return WithService(change, func(*Service) error { return nil })
}

// WithService is With for a service that is also set up before it runs.
func WithService(change func(*Config), setUp func(*Service) error) func(context.Context, Config) error {
	return func(ctx context.Context, config Config) error {
		change(&config)
		service, err := sluice.New(config)
		if err != nil {
			return err
		}
		if err := setUp(service); err != nil {
			return err
		}
		return service.Run(ctx)
	}
}

// Stats is some of what GET /api/stats answers.
type Stats struct {
	Epoch                           string
	Head, Position, Fetched, Routed int64
}

// Stats asks the node for its own.
func (n *Node) Stats() (s Stats) {
	n.t.Helper()
	if _, body := n.Ask("GET", "/api/stats"); json.Unmarshal([]byte(body), &s) != nil {
		n.t.Fatalf("stats: %s", body)
	}
	return s
}
