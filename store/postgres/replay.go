package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluicehq/sluice/store"
)

const replaySQL = `SELECT "offset", topic, event, payload, key, inserted_at FROM sluice_replay($1, $2, $3, $4, $5)`

// What the last row of sluice_replay has in place of an offset.
const (
	isTrimmed    = -1
	isOtherEpoch = -2
)

// Replay implements [store.Log].
func (l *Log) Replay(ctx context.Context, topic string, after, upTo int64, limit store.Limit) (events []store.Event, through int64, err error) {
	if after < 0 || upTo < after || limit.Events < 1 || limit.Bytes < 0 {
		return nil, 0, fmt.Errorf("postgres: replay after %d up to %d with limit %+v: want an offset from 0, one not before it, events from 1, bytes from 0", after, upTo, limit)
	}
	size := l.fetchSize(limit)
	events, whole, cut, err := l.readTopic(ctx, topic, after, upTo, limit, size)
	switch {
	case err != nil:
		return nil, 0, l.failure(fmt.Sprintf("replay %q after %d", topic, after), err, reads)
	case whole == isOtherEpoch:
		return nil, 0, fmt.Errorf("replay %q after %d in %s: %w", topic, after, limit.Epoch, store.ErrNewEpoch)
	case whole == isTrimmed:
		return nil, 0, fmt.Errorf("replay %q after %d: %w", topic, after, store.ErrTrimmed)
	}
	l.adjustPace(size, len(events), cut)
	if cut || len(events) == size {
		return events, events[len(events)-1].Offset, nil
	}
	return events, max(after, whole), nil
}

// readTopic calls sluice_replay, whose last row says how far the topic is whole: it
// is read also where the events before it are cut short.
func (l *Log) readTopic(ctx context.Context, topic string, after, upTo int64, limit store.Limit, size int) (events []store.Event, whole int64, cut bool, err error) {
	rows, err := l.pool.Query(ctx, replaySQL, eventColumns, storable(topic), after, upTo, size, limit.Epoch)
	if err != nil {
		return nil, 0, false, err
	}
	defer rows.Close()
	memory := l.sizes.Arena(expected(0, size))
	bytes, told := 0, false
	for rows.Next() {
		switch columns := rows.RawValues(); {
		case columns[1] == nil:
			whole, told = int64(binary.BigEndian.Uint64(columns[0])), true
		case !cut:
			events = append(events, event(columns, &memory))
			bytes += len(columns[3])
			cut = limit.Bytes > 0 && bytes >= limit.Bytes
		}
	}
	l.sizes.Learn(len(events), &memory)
	if err := rows.Err(); err != nil {
		return nil, 0, false, err
	}
	if !told {
		return nil, 0, false, errNoMeta
	}
	return events, whole, cut, nil
}

// storable replaces a topic that Postgres would refuse as text, and that no
// event can have, by another that none has.
func storable(topic string) string {
	if !utf8.ValidString(topic) || strings.IndexByte(topic, 0) >= 0 {
		return ""
	}
	return topic
}
