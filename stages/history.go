package stages

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/channels"
	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/store"
)

// LogHistory is where channels read what they missed: the log.
type LogHistory struct {
	stream  *Stream
	monitor *Monitor
	hub     *channels.Hub
}

// NewLogHistory returns the history that is in the stream's log, as far as the
// monitor knows it and the hub has come.
func NewLogHistory(stream *Stream, monitor *Monitor, hub *channels.Hub) *LogHistory {
	return &LogHistory{stream, monitor, hub}
}

// Replay implements [channels.History].
func (h *LogHistory) Replay(ctx context.Context, topic string, after, upTo int64, limit, bytes int) ([]outbound.Message, int64, error) {
	log := h.stream.Log()
	if log == nil {
		return nil, 0, channels.ErrNoLog
	}
	events, through, err := log.Replay(ctx, topic, after, upTo,
		store.Limit{Events: limit, Bytes: bytes, Epoch: h.hub.Epoch()})
	switch {
	case errors.Is(err, store.ErrTrimmed):
		h.monitor.Suspect() // who joins again is to hear it
		return nil, 0, channels.ErrGone
	case errors.Is(err, store.ErrNewEpoch):
		h.monitor.Suspect()
		return nil, 0, err
	case err != nil:
		return nil, 0, err
	}
	messages := make([]outbound.Message, len(events))
	for i, event := range events {
		messages[i] = outbound.Message{
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

// Tail implements [channels.History].
func (h *LogHistory) Tail(ctx context.Context, topic string, count int, upTo int64) (after int64, err error) {
	log := h.stream.Log()
	if log == nil {
		return 0, channels.ErrNoLog
	}
	after, err = log.Tail(ctx, topic, count, upTo, h.hub.Epoch())
	switch {
	case errors.Is(err, store.ErrNewEpoch):
		h.monitor.Suspect()
		return 0, err
	case err != nil:
		return 0, err
	}
	return max(after, h.hub.Skipped()), nil // whoever answered may not have come to it
}

// Resume implements [channels.History]. A storm of clients that come back
// costs no read of the database: the extent and the epochs are known from the
// last pulse, and only who is ahead of this node, or comes from an epoch that
// it has not heard of, makes it look.
func (h *LogHistory) Resume(ctx context.Context, epoch string, after int64) (from int64, whole bool, err error) {
	known := h.monitor.Extent()
	known.Offset = max(known.Offset, h.hub.Head())
	if after > known.Offset || !known.Knows(epoch) {
		log := h.stream.Log()
		if log == nil {
			return 0, false, channels.ErrNoLog
		}
		if known, err = h.monitor.Look(ctx, log); err != nil {
			return 0, false, err
		}
	}
	known.Trimmed = max(known.Trimmed, h.hub.Skipped()) // the pulse may not have come to it
	from, whole = known.Resume(store.Cursor{Epoch: epoch, Offset: after})
	return from, whole, nil
}
