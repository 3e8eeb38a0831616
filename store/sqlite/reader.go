package sqlite

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"modernc.org/libc"
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
	UNION ALL SELECT * FROM (SELECT "offset", topic, event, payload, key, inserted_at
		FROM sluice_log INDEXED BY sluice_log_topic
		WHERE topic = ?1 AND "offset" > ?2 AND "offset" <= ?4 AND ` + inEpochSQL + ` ORDER BY "offset" LIMIT ?5)`

// reader reads events on a connection of its own, through SQLite's own
// interface below the driver. The driver makes ten allocations of an event;
// this makes none. It is for one goroutine at a time.
//
// An uintptr is an address in SQLite's memory, which Go's collector does not
// know, and which does not move.
type reader struct {
	tls      *libc.TLS
	db       uintptr // sqlite3*
	fetched  uintptr // sqlite3_stmt* of fetchSQL
	replayed uintptr // sqlite3_stmt* of replaySQL
	sizes    arena.Forecast
}

func openReader(path string) (*reader, error) {
	r := &reader{tls: libc.NewTLS()}
	if err := r.open(path); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *reader) open(path string) error {
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(r.tls, name)
	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := r.tls.Alloc(pointer)
	defer r.tls.Free(pointer)
	status := sqlite3.Xsqlite3_open_v2(r.tls, name, out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX, 0)
	r.db = *(*uintptr)(memory(out))
	if status != sqlite3.SQLITE_OK {
		return r.failure(status)
	}
	sqlite3.Xsqlite3_busy_timeout(r.tls, r.db, int32(busyTimeout.Milliseconds()))
	if r.fetched, err = r.prepare(fetchSQL); err != nil {
		return err
	}
	r.replayed, err = r.prepare(replaySQL)
	return err
}

func (r *reader) prepare(query string) (statement uintptr, err error) {
	text, err := libc.CString(query)
	if err != nil {
		return 0, err
	}
	defer libc.Xfree(r.tls, text)
	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := r.tls.Alloc(pointer)
	defer r.tls.Free(pointer)
	status := sqlite3.Xsqlite3_prepare_v3(r.tls, r.db, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, out, 0)
	if status != sqlite3.SQLITE_OK {
		return 0, r.failure(status)
	}
	return *(*uintptr)(memory(out)), nil
}

// fetch returns events after the offset, of which known are expected to be
// there.
func (r *reader) fetch(after int64, limit store.Limit, known int64) ([]store.Event, error) {
	epoch, err := r.bindText(r.fetched, 3, limit.Epoch)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(r.tls, epoch)
	defer sqlite3.Xsqlite3_reset(r.tls, r.fetched) // ends the read transaction
	sqlite3.Xsqlite3_bind_int64(r.tls, r.fetched, 1, after)
	sqlite3.Xsqlite3_bind_int64(r.tls, r.fetched, 2, int64(limit.Events))
	events, _, err := r.read(r.fetched, limit, known)
	return events, err
}

// replay returns the topic's events in (after, upTo], and the offset in
// replaySQL's first row.
func (r *reader) replay(topic string, after, upTo int64, limit store.Limit) (events []store.Event, whole int64, cut bool, err error) {
	name, err := r.bindText(r.replayed, 1, topic)
	if err != nil {
		return nil, 0, false, err
	}
	defer libc.Xfree(r.tls, name)
	epoch, err := r.bindText(r.replayed, 3, limit.Epoch)
	if err != nil {
		return nil, 0, false, err
	}
	defer libc.Xfree(r.tls, epoch)
	defer sqlite3.Xsqlite3_reset(r.tls, r.replayed)
	sqlite3.Xsqlite3_bind_int64(r.tls, r.replayed, 2, after)
	sqlite3.Xsqlite3_bind_int64(r.tls, r.replayed, 4, upTo)
	sqlite3.Xsqlite3_bind_int64(r.tls, r.replayed, 5, int64(limit.Events))
	switch status := sqlite3.Xsqlite3_step(r.tls, r.replayed); status {
	case sqlite3.SQLITE_ROW:
	case sqlite3.SQLITE_DONE:
		return nil, 0, false, store.ErrNewEpoch
	default:
		return nil, 0, false, r.failure(status)
	}
	whole = sqlite3.Xsqlite3_column_int64(r.tls, r.replayed, 0)
	events, cut, err = r.read(r.replayed, limit, 0)
	return events, whole, cut, err
}

// bindText binds a copy of text, which the caller frees once the statement has
// been reset.
func (r *reader) bindText(statement uintptr, index int32, text string) (copied uintptr, err error) {
	if copied, err = libc.CString(text); err == nil {
		sqlite3.Xsqlite3_bind_text(r.tls, statement, index, copied, int32(len(text)), 0) // 0: SQLITE_STATIC
	}
	return copied, err
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
			Offset:     sqlite3.Xsqlite3_column_int64(r.tls, statement, 0),
			Topic:      arena.Text(keep.Keep(r.column(statement, 1))),
			Name:       arena.Text(keep.Keep(r.column(statement, 2))),
			Payload:    keep.Keep(r.column(statement, 3)),
			Key:        keep.Keep(r.column(statement, 4)),
			InsertedAt: time.UnixMicro(sqlite3.Xsqlite3_column_int64(r.tls, statement, 5)).UTC(),
		})
		if bytes += len(events[len(events)-1].Payload); limit.Bytes > 0 && bytes >= limit.Bytes {
			return events, true, nil
		}
	}
}

// column views a text column of the statement's present row; nil for NULL.
// SQLite changes that memory with its next step.
func (r *reader) column(statement uintptr, index int32) []byte {
	start := sqlite3.Xsqlite3_column_text(r.tls, statement, index)
	if start == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(memory(start)), sqlite3.Xsqlite3_column_bytes(r.tls, statement, index))
}

// close may be called in any state of the reader.
func (r *reader) close() error {
	sqlite3.Xsqlite3_finalize(r.tls, r.fetched)
	sqlite3.Xsqlite3_finalize(r.tls, r.replayed)
	status := sqlite3.Xsqlite3_close_v2(r.tls, r.db)
	r.tls.Close()
	if status != sqlite3.SQLITE_OK {
		return fmt.Errorf("sqlite: close a reader: status %d", status)
	}
	return nil
}

// failure says what went wrong in the last call.
func (r *reader) failure(status int32) error {
	message := libc.GoString(sqlite3.Xsqlite3_errmsg(r.tls, r.db))
	return &readError{code: int(status), message: message}
}

// readError is a reader's error, as the driver's is for all other calls.
type readError struct {
	code    int
	message string
}

func (e *readError) Code() int     { return e.code }
func (e *readError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.code) }

// memory makes a pointer of an address in SQLite's memory.
func memory(address uintptr) unsafe.Pointer {
	pointer := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	runtime.KeepAlive(address)
	return pointer
}
