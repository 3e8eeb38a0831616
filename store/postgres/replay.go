package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluicehq/sluice/store"
)

const replaySQL = `SELECT "offset", topic, event, payload, key, inserted_at FROM sluice_replay($1, $2, $4, $5)
	WHERE ` + inEpochSQL

// Replay implements [store.Log].
func (l *Log) Replay(ctx context.Context, topic string, after, upTo int64, limit store.Limit) (events []store.Event, through int64, err error) {
	if after < 0 || upTo < after || limit.Events < 1 || limit.Bytes < 0 {
		return nil, 0, fmt.Errorf("postgres: replay after %d up to %d with limit %+v: want an offset from 0, one not before it, events from 1, bytes from 0", after, upTo, limit)
	}
	size := l.fetchSize(limit)
	events, whole, cut, err := l.readTopic(ctx, topic, after, upTo, limit, size)
	switch {
	case errors.Is(err, store.ErrNewEpoch):
		return nil, 0, fmt.Errorf("replay %q after %d in %s: %w", topic, after, limit.Epoch, err)
	case err != nil:
		return nil, 0, l.failure(fmt.Sprintf("replay %q after %d", topic, after), err, reads)
	case whole < 0:
		return nil, 0, fmt.Errorf("replay %q after %d: %w", topic, after, store.ErrTrimmed)
	}
	l.adjustPace(size, len(events), cut)
	if cut || len(events) == size {
		return events, events[len(events)-1].Offset, nil
	}
	return events, max(after, whole), nil
}

// readTopic calls sluice_replay, whose first row says how far the topic is
// whole.
func (l *Log) readTopic(ctx context.Context, topic string, after, upTo int64, limit store.Limit, size int) (events []store.Event, whole int64, cut bool, err error) {
	rows, err := l.pool.Query(ctx, replaySQL, eventColumns, storable(topic), after, limit.Epoch, upTo, size)
	if err != nil {
		return nil, 0, false, err
	}
	defer rows.Close()
	switch {
	case rows.Next():
		whole = int64(binary.BigEndian.Uint64(rows.RawValues()[0]))
	case rows.Err() == nil:
		return nil, 0, false, store.ErrNewEpoch
	}
	events, cut, err = l.readEvents(rows, limit, expected(0, size))
	return events, whole, cut, err
}

// storable replaces a topic that Postgres would refuse as text, and that no
// event can have, by another that none has.
func storable(topic string) string {
	if !utf8.ValidString(topic) || strings.IndexByte(topic, 0) >= 0 {
		return ""
	}
	return topic
}
