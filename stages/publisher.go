package stages

import (
	"context"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/store"
)

// LogPublisher appends what channels publish to the log.
type LogPublisher struct{ stream *Stream }

// NewLogPublisher returns a publisher to the stream's log.
func NewLogPublisher(stream *Stream) *LogPublisher { return &LogPublisher{stream} }

// Publish implements [channels.Publisher].
func (p *LogPublisher) Publish(ctx context.Context, m *outbound.Message) error {
	log := p.stream.Log()
	if log == nil {
		return channels.ErrNoLog
	}
	return log.Append(ctx, []store.Draft{{Topic: m.Topic, Name: m.Event, Key: m.Key, Payload: m.Payload}})
}

// PublishAll appends several events in one transaction.
func (p *LogPublisher) PublishAll(ctx context.Context, messages []*outbound.Message) error {
	log := p.stream.Log()
	if log == nil {
		return channels.ErrNoLog
	}
	drafts := make([]store.Draft, len(messages))
	for i, m := range messages {
		drafts[i] = store.Draft{Topic: m.Topic, Name: m.Event, Key: m.Key, Payload: m.Payload}
	}
	return log.Append(ctx, drafts)
}
