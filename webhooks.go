package sluice

import (
	"context"
	"time"

	"github.com/sluicehq/sluice/internal/admin"
	"github.com/sluicehq/sluice/internal/hooks"
	"github.com/sluicehq/sluice/internal/webhooks"
	"github.com/sluicehq/sluice/store"
)

// webhookGrace is how long a request under way is waited for when the service stops.
const webhookGrace = 5 * time.Second

// webhookSet is the webhooks in force. It is not changed.
type webhookSet struct {
	list    []Webhook
	secrets map[string]*hooks.Secrets // by file
}

// makeWebhooks makes what sends the webhooks of the configuration, once it runs.
func (s *Service) makeWebhooks(secrets map[string]*hooks.Secrets) {
	s.webhooks = webhooks.New(webhooks.Config{
		Head:  func() int64 { head, _ := s.headAndPosition(); return head },
		Grace: min(webhookGrace, s.config.DrainTimeout), Metrics: s.metrics, Logger: s.logger,
	})
	s.putWebhooks(&webhookSet{s.config.Webhooks, secrets})
}

// putWebhooks puts webhooks in force.
func (s *Service) putWebhooks(set *webhookSet) {
	s.inForce.webhooks.Store(set)
	run := make([]webhooks.Webhook, len(set.list))
	for i := range set.list {
		run[i] = set.list[i].runs(set.secrets[set.list[i].SecretFile])
	}
	s.webhooks.Replace(run)
}

// sendWebhooks sends webhooks until it is stopped; nothing new is begun once life ends.
func (s *Service) sendWebhooks(life context.Context, log store.Log, fail context.CancelCauseFunc) *task {
	return start(life, "webhooks", func(ctx context.Context) error {
		sending, stop := context.WithCancel(ctx)
		defer stop()
		defer context.AfterFunc(life, stop)()
		err := s.webhooks.Run(sending, log)
		<-ctx.Done()
		return err
	}, fail)
}

// Webhooks implements [admin.Node].
func (v adminView) Webhooks() []admin.Webhook {
	states := v.webhooks.States()
	list := make([]admin.Webhook, len(states))
	for i, state := range states {
		list[i] = admin.Webhook(state)
	}
	return list
}

// EnableWebhook implements [admin.Node].
func (v adminView) EnableWebhook(ctx context.Context, name string) (was bool, err error) {
	log := v.stream.Log()
	if log == nil {
		return false, ErrNotOpen
	}
	return webhooks.Enable(ctx, log, name)
}
