package sluice

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/store"
)

// history is where channels read what they missed: the log.
type history struct{ service *Service }

// Replay implements [channels.History].
func (h history) Replay(ctx context.Context, topic string, after, upTo int64, limit, bytes int) ([]channels.Message, int64, error) {
	stream := h.service.stream.Load()
	if stream == nil {
		return nil, 0, channels.ErrNoLog
	}
	events, through, err := stream.log.Replay(ctx, topic, after, upTo,
		store.Limit{Events: limit, Bytes: bytes, Epoch: h.service.hub.Epoch()})
	switch {
	case errors.Is(err, store.ErrTrimmed):
		h.service.health.suspect() // who joins again is to hear it
		return nil, 0, channels.ErrGone
	case errors.Is(err, store.ErrNewEpoch):
		h.service.health.suspect()
		return nil, 0, err
	case err != nil:
		return nil, 0, err
	}
	messages := make([]channels.Message, len(events))
	for i, event := range events {
		messages[i] = channels.Message{
			Offset:     event.Offset,
			Topic:      event.Topic,
			Event:      event.Name,
			Key:        event.Key,
			Payload:    event.Payload,
			InsertedAt: event.InsertedAt,
		}
	}
	return messages, through, nil
}

// Resume implements [channels.History]. A storm of clients that come back
// costs no read of the database: the extent and the epochs are known from the
// last pulse, and only who is ahead of this node, or comes from an epoch that
// it has not heard of, makes it look.
func (h history) Resume(ctx context.Context, epoch string, after int64) (from int64, whole bool, err error) {
	known := h.service.health.extent()
	known.Offset = max(known.Offset, h.service.hub.Head())
	if after > known.Offset || !known.Knows(epoch) {
		stream := h.service.stream.Load()
		if stream == nil {
			return 0, false, channels.ErrNoLog
		}
		if known, err = h.service.health.look(ctx, stream.log); err != nil {
			return 0, false, err
		}
	}
	known.Trimmed = max(known.Trimmed, h.service.hub.Skipped()) // the pulse may not have come to it
	from, whole = known.Resume(store.Cursor{Epoch: epoch, Offset: after})
	return from, whole, nil
}
