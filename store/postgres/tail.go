package postgres

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

// Tail implements [store.Log].
func (l *Log) Tail(ctx context.Context, topic string, count int, upTo int64, epoch string) (after int64, err error) {
	if count < 1 || upTo < 0 {
		return 0, fmt.Errorf("postgres: the last %d events up to %d: want a number from 1, and an offset from 0", count, upTo)
	}
	var found *int64
	err = l.pool.QueryRow(ctx, `SELECT sluice_tail($1, $2, $3, $4)`, storable(topic), upTo, count, epoch).Scan(&found)
	switch {
	case err != nil:
		return 0, l.failure(fmt.Sprintf("the last events of %q", topic), err, reads)
	case found == nil:
		return 0, l.failure(fmt.Sprintf("the last events of %q", topic), errNoMeta, reads)
	case *found == isOtherEpoch:
		return 0, fmt.Errorf("the last events of %q in %s: %w", topic, epoch, store.ErrNewEpoch)
	}
	return *found, nil
}
