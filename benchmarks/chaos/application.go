package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/swarm"
)

// applicationName is the argument of `sluice bench` that runs a node as an
// application's own program.
const applicationName = "chaos-node"

// application is what such a node is told: what serve is told by flags.
type application struct {
	Node, Listen, AdminListen, DatabaseURL string
	Retention, DrainTimeout                time.Duration
	MailboxSize, MaxDemand, Lanes          int
	MailboxBytes, InboundBytes, Recent     sluice.ByteSize
	MaxMessageBytes, FetchBytes            sluice.ByteSize
	MaxConnections                         int
	Topics                                 []sluice.TopicRule
	busSettings                            // as JSON, its fields are among these
}

// anewPause is how long such a node waits before it starts anew.
const anewPause = 5 * time.Millisecond

// ServeNode runs a service that intercepts events, by the settings in a
// file, until ctx ends.
func ServeNode(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var a application
	if err := json.Unmarshal(text, &a); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	config := sluice.DefaultConfig()
	config.Node, config.Listen, config.AdminListen, config.DatabaseURL = a.Node, a.Listen, a.AdminListen, a.DatabaseURL
	config.Retention, config.DrainTimeout = a.Retention, a.DrainTimeout
	config.MailboxSize, config.MaxDemand, config.Lanes = a.MailboxSize, a.MaxDemand, a.Lanes
	config.MailboxBytes, config.Recent, config.FetchBytes = a.MailboxBytes, a.Recent, a.FetchBytes
	config.InboundBytes, config.MaxMessageBytes = a.InboundBytes, a.MaxMessageBytes
	config.MaxConnections, config.Topics = a.MaxConnections, a.Topics
	config.RelayBytes = relayBytes
	config.ClusterListen, config.ClusterAdvertise, config.ClusterRoutes = a.ClusterListen, a.ClusterAdvertise, a.ClusterRoutes
	config.NATSURL, config.ClusterSecretFile = a.NATSURL, a.ClusterSecretFile
	config.Logger = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	for anew := false; ; anew = true {
		service, err := sluice.New(config)
		if err != nil {
			return err
		}
		if err := service.Handle(swarm.TopicPrefix+heldTopic+":*", func() sluice.Channel { return interceptor{} }); err != nil {
			return err
		}
		err = service.Run(ctx)
		if !anew && !errors.Is(err, sluice.ErrNewEpoch) || ctx.Err() != nil {
			return err // later it may be what strikes just now
		}
		config.Logger.Warn("starting anew", "error", err)
		pause(ctx, nil, anewPause)
	}
}

// interceptor looks at every event, and hands on what is in it.
type interceptor struct{}

// Join implements [sluice.Channel].
func (interceptor) Join(*sluice.Context, sluice.Payload) (any, error) { return nil, nil }

// Intercepts implements [sluice.OutHandler].
func (interceptor) Intercepts() []string { return []string{swarm.EventName} }

// HandleOut implements [sluice.OutHandler].
func (interceptor) HandleOut(_ *sluice.Context, _ string, payload sluice.Payload) (any, bool) {
	var event struct {
		W int64  `json:"w"`
		N *int64 `json:"n"`
	}
	_ = payload.Decode(&event) // what is none of ours has no number, and is told by that
	return event, true
}
