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
	WHERE "offset" > ? ORDER BY "offset" LIMIT ?`

// reader reads events on a connection of its own, through SQLite's own
// interface below the driver. The driver makes ten allocations of an event;
// this makes none. It is for one goroutine at a time.
//
// An uintptr is an address in SQLite's memory, which Go's collector does not
// know, and which does not move.
type reader struct {
	tls       *libc.TLS
	db        uintptr // sqlite3*
	statement uintptr // sqlite3_stmt*
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
	query, err := libc.CString(fetchSQL)
	if err != nil {
		return err
	}
	defer libc.Xfree(r.tls, query)

	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := r.tls.Alloc(pointer)
	defer r.tls.Free(pointer)
	status := sqlite3.Xsqlite3_open_v2(r.tls, name, out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX, 0)
	r.db = *(*uintptr)(memory(out))
	if status != sqlite3.SQLITE_OK {
		return r.failure(status)
	}
	sqlite3.Xsqlite3_busy_timeout(r.tls, r.db, int32(busyTimeout.Milliseconds()))
	status = sqlite3.Xsqlite3_prepare_v3(r.tls, r.db, query, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, out, 0)
	if status != sqlite3.SQLITE_OK {
		return r.failure(status)
	}
	r.statement = *(*uintptr)(memory(out))
	return nil
}

// read returns events after the offset. They are cut short where they exceed
// the limit in bytes.
func (r *reader) read(after int64, limit store.Limit, expected int) ([]store.Event, error) {
	defer sqlite3.Xsqlite3_reset(r.tls, r.statement) // ends the read transaction
	sqlite3.Xsqlite3_bind_int64(r.tls, r.statement, 1, after)
	sqlite3.Xsqlite3_bind_int64(r.tls, r.statement, 2, int64(limit.Events))
	var keep arena.Arena
	bytes := 0
	events := make([]store.Event, 0, expected)
	for {
		switch status := sqlite3.Xsqlite3_step(r.tls, r.statement); status {
		case sqlite3.SQLITE_DONE:
			return events, nil
		case sqlite3.SQLITE_ROW:
		default:
			return nil, r.failure(status)
		}
		events = append(events, store.Event{
			Offset:     sqlite3.Xsqlite3_column_int64(r.tls, r.statement, 0),
			Topic:      arena.Text(keep.Keep(r.column(1))),
			Name:       arena.Text(keep.Keep(r.column(2))),
			Payload:    keep.Keep(r.column(3)),
			Key:        keep.Keep(r.column(4)),
			InsertedAt: time.UnixMicro(sqlite3.Xsqlite3_column_int64(r.tls, r.statement, 5)).UTC(),
		})
		if bytes += len(events[len(events)-1].Payload); limit.Bytes > 0 && bytes >= limit.Bytes {
			return events, nil
		}
	}
}

// column views a text column of the present row; nil for NULL. SQLite changes
// that memory with its next step.
func (r *reader) column(index int32) []byte {
	start := sqlite3.Xsqlite3_column_text(r.tls, r.statement, index)
	if start == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(memory(start)), sqlite3.Xsqlite3_column_bytes(r.tls, r.statement, index))
}

// close may be called in any state of the reader.
func (r *reader) close() error {
	sqlite3.Xsqlite3_finalize(r.tls, r.statement)
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
