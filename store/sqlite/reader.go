package sqlite

import (
	"errors"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
)

const fetchSQL = `SELECT "offset", topic, event, payload, key, inserted_at FROM sluice_log
	WHERE "offset" > ?1 AND ` + inEpochSQL + ` ORDER BY "offset" LIMIT ?2`

// inEpochSQL is decided once, not for each row.
const inEpochSQL = `(?3 = '' OR ?3 = (SELECT epoch FROM sluice_epochs ORDER BY number DESC LIMIT 1))`

// replaySQL has a first row that only has an offset: how far the topic is
// whole, or -1 where some of it is no longer kept. In another epoch it has none.
const replaySQL = `SELECT CASE WHEN ?2 < trimmed THEN -1
		ELSE min(?4, max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0))) END,
		NULL, NULL, NULL, NULL, NULL FROM sluice_meta WHERE ` + inEpochSQL + `
	UNION ALL SELECT * FROM (SELECT l."offset", l.topic, event, payload, key, inserted_at FROM (
			SELECT "offset" FROM sluice_topics WHERE topic = ?1 AND "offset" > ?2 AND "offset" <= ?4
			UNION ALL SELECT "offset" FROM sluice_topics_recent WHERE topic = ?1 AND "offset" > ?2 AND "offset" <= ?4
			ORDER BY "offset" LIMIT ?5) of_topic
		CROSS JOIN sluice_log l ON l."offset" = of_topic."offset" WHERE ` + inEpochSQL + ` ORDER BY of_topic."offset")`

// tailSQL has no row in another epoch. An index of either table is read backwards; the
// offsets of the small one follow those of the large one.
const tailSQL = `SELECT coalesce((SELECT min("offset") - 1 FROM (
			SELECT * FROM (SELECT "offset" FROM sluice_topics_recent WHERE topic = ?1 AND "offset" > trimmed AND "offset" <= ?4 ORDER BY "offset" DESC LIMIT ?2)
			UNION ALL SELECT * FROM (SELECT "offset" FROM sluice_topics WHERE topic = ?1 AND "offset" > trimmed AND "offset" <= ?4 ORDER BY "offset" DESC LIMIT ?2)
			ORDER BY "offset" DESC LIMIT ?2)),
		min(?4, max(trimmed, coalesce((SELECT max("offset") FROM sluice_log), 0))))
	FROM sluice_meta WHERE ` + inEpochSQL

// reader is a connection that reads events. It is for one goroutine at a time.
type reader struct {
	connection
	fetched  uintptr // sqlite3_stmt* of fetchSQL
	replayed uintptr // sqlite3_stmt* of replaySQL
	tailed   uintptr // sqlite3_stmt* of tailSQL
	sizes    arena.Forecast
}

func openReader(path string) (*reader, error) {
	r := new(reader)
	err := r.open(path)
	if err == nil {
		r.fetched, err = r.prepare(fetchSQL)
	}
	if err == nil {
		r.replayed, err = r.prepare(replaySQL)
	}
	if err == nil {
		r.tailed, err = r.prepare(tailSQL)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// fetch returns events after the offset, of which known are expected to be
// there.
func (r *reader) fetch(after int64, limit store.Limit, known int64) ([]store.Event, error) {
	if err := r.bind(r.fetched, after, int64(limit.Events), limit.Epoch); err != nil {
		return nil, err
	}
	defer sqlite3.Xsqlite3_reset(r.tls, r.fetched) // ends the read transaction
	events, _, err := r.read(r.fetched, limit, known)
	return events, err
}

// replay returns the topic's events in (after, upTo], and the offset in
// replaySQL's first row.
func (r *reader) replay(topic string, after, upTo int64, limit store.Limit) (events []store.Event, whole int64, cut bool, err error) {
	if err := r.bind(r.replayed, topic, after, limit.Epoch, upTo, int64(limit.Events)); err != nil {
		return nil, 0, false, err
	}
	defer sqlite3.Xsqlite3_reset(r.tls, r.replayed)
	switch status := sqlite3.Xsqlite3_step(r.tls, r.replayed); status {
	case sqlite3.SQLITE_ROW:
	case sqlite3.SQLITE_DONE:
		return nil, 0, false, store.ErrNewEpoch
	default:
		return nil, 0, false, r.failure(status)
	}
	whole = r.column64(r.replayed, 0)
	events, cut, err = r.read(r.replayed, limit, 0)
	return events, whole, cut, err
}

// tail returns the offset in tailSQL's row.
func (r *reader) tail(topic string, count int, upTo int64, epoch string) (after int64, err error) {
	if err := r.bind(r.tailed, topic, int64(count), epoch, upTo); err != nil {
		return 0, err
	}
	defer sqlite3.Xsqlite3_reset(r.tls, r.tailed)
	switch status := sqlite3.Xsqlite3_step(r.tls, r.tailed); status {
	case sqlite3.SQLITE_ROW:
		return r.column64(r.tailed, 0), nil
	case sqlite3.SQLITE_DONE:
		return 0, store.ErrNewEpoch
	default:
		return 0, r.failure(status)
	}
}

// read takes the rows that are left of a statement. They are cut short where
// they exceed the limit in bytes.
func (r *reader) read(statement uintptr, limit store.Limit, known int64) (events []store.Event, cut bool, err error) {
	bytes := 0
	events = make([]store.Event, 0, min(max(known, 16), int64(limit.Events)))
	keep := r.sizes.Arena(cap(events))
	defer func() { r.sizes.Learn(len(events), &keep) }()
	for {
		switch status := sqlite3.Xsqlite3_step(r.tls, statement); status {
		case sqlite3.SQLITE_DONE:
			return events, false, nil
		case sqlite3.SQLITE_ROW:
		default:
			return nil, false, r.failure(status)
		}
		events = append(events, store.Event{
			Offset:     r.column64(statement, 0),
			Topic:      arena.Text(keep.Keep(r.column(statement, 1))),
			Name:       arena.Text(keep.Keep(r.column(statement, 2))),
			Payload:    keep.Keep(r.column(statement, 3)),
			Key:        keep.Keep(r.column(statement, 4)),
			InsertedAt: time.UnixMicro(r.column64(statement, 5)).UTC(),
		})
		if bytes += len(events[len(events)-1].Payload); limit.Bytes > 0 && bytes >= limit.Bytes {
			return events, true, nil
		}
	}
}
