package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

// Tail implements [store.Log]. A read that has begun is finished, whatever
// becomes of ctx: the count bounds it.
func (l *Log) Tail(ctx context.Context, topic string, count int, upTo int64, epoch string) (after int64, err error) {
	if count < 1 || upTo < 0 {
		return 0, fmt.Errorf("sqlite: the last %d events up to %d: want a number from 1, and an offset from 0", count, upTo)
	}
	err = l.borrow(ctx, func(r *reader) (err error) {
		after, err = r.tail(topic, count, upTo, epoch)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNewEpoch):
		return 0, fmt.Errorf("the last events of %q in %s: %w", topic, epoch, err)
	case err != nil:
		return 0, l.failure(fmt.Sprintf("the last events of %q", topic), err)
	}
	return after, nil
}
