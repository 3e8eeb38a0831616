package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

// Replay implements [store.Log]. A read that has begun is finished, whatever
// becomes of ctx: the limit bounds it.
func (l *Log) Replay(ctx context.Context, topic string, after, upTo int64, limit store.Limit) (events []store.Event, through int64, err error) {
	if after < 0 || upTo < after || limit.Events < 1 || limit.Bytes < 0 {
		return nil, 0, fmt.Errorf("sqlite: replay after %d up to %d with limit %+v: want an offset from 0, one not before it, events from 1, bytes from 0", after, upTo, limit)
	}
	var whole int64
	var cut bool
	err = l.borrow(ctx, func(r *reader) (err error) {
		events, whole, cut, err = r.replay(topic, after, upTo, limit)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNewEpoch):
		return nil, 0, fmt.Errorf("replay %q after %d in %s: %w", topic, after, limit.Epoch, err)
	case err != nil:
		return nil, 0, l.failure(fmt.Sprintf("replay %q after %d", topic, after), err)
	case whole < 0:
		return nil, 0, fmt.Errorf("replay %q after %d: %w", topic, after, store.ErrTrimmed)
	case cut || len(events) == limit.Events:
		return events, events[len(events)-1].Offset, nil
	}
	return events, max(after, whole), nil
}
