package sqlite

import (
	"context"
	"fmt"

	"github.com/sluicehq/sluice/store"
)

// Fetch implements [store.Log]. A read that has begun is finished, whatever
// becomes of ctx: the limit bounds it.
func (l *Log) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	if after < 0 || limit.Events < 1 || limit.Bytes < 0 {
		return nil, fmt.Errorf("sqlite: fetch after %d with limit %+v: want an offset from 0, events from 1, bytes from 0", after, limit)
	}
	if events := l.takeHandoff(after, limit); len(events) > 0 {
		return events, nil
	}
	known := l.head.Offset()
	var events []store.Event
	err := l.borrow(ctx, func(r *reader) (err error) {
		events, err = r.fetch(after, limit, known-after)
		return err
	})
	if err != nil {
		return nil, l.failure(fmt.Sprintf("fetch after %d", after), err)
	}
	if len(events) == 0 || events[0].Offset != after+1 {
		return nil, l.explain(ctx, after, known, events, limit.Epoch)
	}
	for i := range events {
		if want := after + 1 + int64(i); events[i].Offset != want {
			return nil, l.explain(ctx, want-1, known, events[i:], limit.Epoch)
		}
	}
	return events, nil
}

// borrow lets use have a reader, which is opened if its place is empty.
func (l *Log) borrow(ctx context.Context, use func(*reader) error) (err error) {
	var r *reader
	var open bool
	select {
	case r, open = <-l.readers:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !open {
		return store.ErrClosed
	}
	defer func() { l.readers <- r }()
	if r == nil {
		if r, err = openReader(l.path); err != nil {
			return err
		}
	}
	return use(r)
}

// explain tells the end of the log from a part that was trimmed, or removed by hand,
// and these from another log.
func (l *Log) explain(ctx context.Context, after, known int64, events []store.Event, epoch string) error {
	head, err := l.Head(ctx)
	switch {
	case err != nil:
		return err
	case epoch != "" && head.Epoch != epoch:
		return fmt.Errorf("fetch after %d in %s, now %s: %w", after, epoch, head.Epoch, store.ErrNewEpoch)
	case after < head.Trimmed:
		return fmt.Errorf("fetch after %d, trimmed up to %d: %w", after, head.Trimmed, store.ErrTrimmed)
	case len(events) > 0:
		return l.noteHole(ctx, after, events[0].Offset)
	case head.Offset <= after:
		l.head.Disprove(known, head.Offset)
	}
	return nil
}
