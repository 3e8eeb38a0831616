package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

// fetchSQL has an upper bound so that the planner leaves out the partitions
// beyond it. What an epoch begins with is committed together with the epoch: no
// snapshot has its events and not its name, whichever server it is of.
const fetchSQL = `SELECT "offset", topic, event, payload, key, inserted_at FROM sluice_log
	WHERE "offset" > $1 AND "offset" <= $2 AND ` + inEpochSQL + ` ORDER BY "offset"`

// inEpochSQL is decided once, not for each row.
const inEpochSQL = `($3 = '' OR $3 = (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1))`

// eventColumns asks for an event's columns as Postgres sends them in binary:
// big-endian integers, and text as it is.
var eventColumns = pgx.QueryResultFormats{pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode,
	pgx.BinaryFormatCode, pgx.BinaryFormatCode, pgx.BinaryFormatCode}

// Fetch implements [store.Log].
func (l *Log) Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error) {
	if after < 0 || limit.Events < 1 || limit.Bytes < 0 {
		return nil, fmt.Errorf("postgres: fetch after %d with limit %+v: want an offset from 0, events from 1, bytes from 0", after, limit)
	}
	if events := l.takeHandoff(after, limit); len(events) > 0 {
		return events, nil
	}
	known := l.head.Offset()
	size := l.fetchSize(limit)
	upTo := after + min(int64(size), math.MaxInt64-after)

	rows, err := l.pool.Query(ctx, fetchSQL, eventColumns, after, upTo, limit.Epoch)
	if err != nil {
		return nil, l.fetchFailure(after, err)
	}
	events, cut, err := l.readEvents(rows, limit, expected(known-after, size))
	if err != nil {
		return nil, l.fetchFailure(after, err)
	}
	l.adjustPace(size, len(events), cut)
	if len(events) == 0 {
		return nil, l.explainNothing(ctx, after, known, limit.Epoch)
	}
	l.readTables(events[len(events)-1].Offset)
	if before, found := lastGap(after, events); found > 0 {
		return nil, l.explainGap(ctx, after, before, found)
	}
	return events, nil
}

// readEvents copies the rows into one arena and closes them. They are cut
// short where they exceed the limit in bytes.
func (l *Log) readEvents(rows pgx.Rows, limit store.Limit, expected int) (events []store.Event, cut bool, err error) {
	defer rows.Close()
	memory := l.sizes.Arena(expected)
	var bytes int
	events = make([]store.Event, 0, expected)
	for rows.Next() {
		columns := rows.RawValues()
		events = append(events, event(columns, &memory))
		bytes += len(columns[3])
		if limit.Bytes > 0 && bytes >= limit.Bytes {
			rows.Close()
			cut = true
			break
		}
	}
	l.sizes.Learn(len(events), &memory)
	return events, cut, rows.Err()
}

// event copies the columns that eventColumns asks for.
func event(columns [][]byte, memory *arena.Arena) store.Event {
	return store.Event{
		Offset:     int64(binary.BigEndian.Uint64(columns[0])),
		Topic:      arena.Text(memory.Keep(columns[1])),
		Name:       arena.Text(memory.Keep(columns[2])),
		Payload:    memory.Keep(columns[3]),
		Key:        memory.Keep(columns[4]),
		InsertedAt: timestamp(columns[5]),
	}
}

// explainNothing tells an end of the log from a part that was trimmed, or removed by
// hand, and these from another log.
func (l *Log) explainNothing(ctx context.Context, after, known int64, epoch string) error {
	head, err := l.Head(ctx)
	switch {
	case err != nil:
		return err
	case epoch != "" && head.Epoch != epoch:
		l.fetched.Store(0) // offsets may begin anew
		return fmt.Errorf("fetch after %d in %s, now %s: %w", after, epoch, head.Epoch, store.ErrNewEpoch)
	case after < head.Trimmed:
		return fmt.Errorf("fetch after %d, trimmed up to %d: %w", after, head.Trimmed, store.ErrTrimmed)
	case head.Offset <= after:
		l.head.Disprove(known, head.Offset)
		return nil
	}
	return l.explainAbsence(ctx, after)
}

// explainAbsence tells events that have come just now from a hole that is larger
// than what was asked for.
func (l *Log) explainAbsence(ctx context.Context, after int64) error {
	var next *int64
	if err := l.pool.QueryRow(ctx, `SELECT min("offset") FROM sluice_log WHERE "offset" > $1`, after).Scan(&next); err != nil {
		return l.fetchFailure(after, err)
	}
	if next == nil || *next == after+1 {
		return nil
	}
	return l.noteHole(ctx, after, *next)
}

// lastGap finds the last place where events do not follow one another; found is 0
// where all do.
func lastGap(after int64, events []store.Event) (before, found int64) {
	if events[len(events)-1].Offset == after+int64(len(events)) {
		return 0, 0
	}
	for i := range events {
		if events[i].Offset != after+1 {
			before, found = after, events[i].Offset
		}
		after = events[i].Offset
	}
	return before, found
}

func (l *Log) explainGap(ctx context.Context, after, before, found int64) error {
	head, err := l.Head(ctx)
	switch {
	case err != nil:
		return err
	case after < head.Trimmed:
		return fmt.Errorf("fetch after %d, trimmed up to %d: %w", after, head.Trimmed, store.ErrTrimmed)
	}
	return l.noteHole(ctx, before, found)
}

func (l *Log) fetchFailure(after int64, err error) error {
	return l.failure(fmt.Sprintf("fetch after %d", after), err, reads)
}

// maxPace is the pace at which nothing has been too large yet.
const maxPace = 1 << 20

// fetchSize bounds a read by the pace. What lies beyond the limit in bytes is
// not returned, but sent all the same: so a read that was cut short makes the
// next ones ask for less, and a full one for more again.
func (l *Log) fetchSize(limit store.Limit) int {
	if limit.Bytes == 0 {
		return limit.Events
	}
	return min(limit.Events, int(l.pace.Load()))
}

func (l *Log) adjustPace(asked, got int, cut bool) {
	switch pace := l.pace.Load(); {
	case cut && got < asked:
		l.pace.Store(int64(got))
	case !cut && got == asked && pace < maxPace:
		l.pace.Store(2 * pace)
	}
}

// expected is how many events to make room for: those known to be there.
func expected(known int64, size int) int { return int(min(max(known, 16), int64(size))) }

// postgresEpoch is what timestamps count microseconds from.
var postgresEpoch = time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func timestamp(binaryValue []byte) time.Time {
	return time.UnixMicro(postgresEpoch + int64(binary.BigEndian.Uint64(binaryValue))).UTC()
}
