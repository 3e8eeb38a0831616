package sqlite

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// connection is one through SQLite's own interface, below the driver: for an
// event's way to the file and back, where the driver makes ten allocations of
// each, and this makes none. It is for one goroutine at a time.
//
// An uintptr is an address in SQLite's memory, which Go's collector does not
// know, and which does not move.
type connection struct {
	tls        *libc.TLS
	db         uintptr   // sqlite3*
	statements []uintptr // sqlite3_stmt* of all that are prepared
}

// open opens the file. Whatever comes of it, close is to be called.
func (c *connection) open(path string) error {
	c.tls = libc.NewTLS()
	name, err := libc.CString(path)
	if err != nil {
		return err
	}
	defer libc.Xfree(c.tls, name)
	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := c.tls.Alloc(pointer)
	defer c.tls.Free(pointer)
	status := sqlite3.Xsqlite3_open_v2(c.tls, name, out, sqlite3.SQLITE_OPEN_READWRITE|sqlite3.SQLITE_OPEN_NOMUTEX|sqlite3.SQLITE_OPEN_EXRESCODE, 0)
	c.db = *(*uintptr)(memory(out))
	if status != sqlite3.SQLITE_OK {
		return c.failure(status)
	}
	sqlite3.Xsqlite3_busy_timeout(c.tls, c.db, int32(busyTimeout.Milliseconds()))
	return nil
}

func (c *connection) prepare(query string) (statement uintptr, err error) {
	text, err := libc.CString(query)
	if err != nil {
		return 0, err
	}
	defer libc.Xfree(c.tls, text)
	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := c.tls.Alloc(pointer)
	defer c.tls.Free(pointer)
	status := sqlite3.Xsqlite3_prepare_v3(c.tls, c.db, text, -1, sqlite3.SQLITE_PREPARE_PERSISTENT, out, 0)
	if status != sqlite3.SQLITE_OK {
		return 0, c.failure(status)
	}
	statement = *(*uintptr)(memory(out))
	c.statements = append(c.statements, statement)
	return statement, nil
}

// bind binds a statement's parameters, int64 or string, until they are bound anew.
func (c *connection) bind(statement uintptr, parameters ...any) error {
	for i, parameter := range parameters {
		index, status := int32(i+1), int32(sqlite3.SQLITE_OK)
		switch value := parameter.(type) {
		case int64:
			status = sqlite3.Xsqlite3_bind_int64(c.tls, statement, index, value)
		case string:
			text, err := libc.CString(value)
			if err != nil {
				return err
			}
			status = sqlite3.Xsqlite3_bind_text(c.tls, statement, index, text, int32(len(value)), sqlite3.SQLITE_TRANSIENT) // copies it
			libc.Xfree(c.tls, text)
		default:
			panic(fmt.Sprintf("sqlite: a parameter is %T, want int64 or string", value))
		}
		if status != sqlite3.SQLITE_OK {
			return c.failure(status)
		}
	}
	return nil
}

// exec runs a statement, and returns how many rows it has changed if that is
// what it does.
func (c *connection) exec(statement uintptr, parameters ...any) (changed int64, err error) {
	if err := c.bind(statement, parameters...); err != nil {
		return 0, err
	}
	defer sqlite3.Xsqlite3_reset(c.tls, statement)
	if status := sqlite3.Xsqlite3_step(c.tls, statement); status != sqlite3.SQLITE_DONE {
		return 0, c.failure(status)
	}
	return int64(sqlite3.Xsqlite3_changes(c.tls, c.db)), nil
}

// integer runs a statement, and returns the one value that it finds.
func (c *connection) integer(statement uintptr, parameters ...any) (value int64, err error) {
	err = c.query(statement, parameters, func() { value = c.column64(statement, 0) })
	return value, err
}

// text runs a statement, and returns the one value that it finds.
func (c *connection) text(statement uintptr, parameters ...any) (value string, err error) {
	err = c.query(statement, parameters, func() { value = string(c.column(statement, 0)) })
	return value, err
}

// query lets scan read a statement's first row, which it must have.
func (c *connection) query(statement uintptr, parameters []any, scan func()) error {
	if err := c.bind(statement, parameters...); err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_reset(c.tls, statement)
	switch status := sqlite3.Xsqlite3_step(c.tls, statement); status {
	case sqlite3.SQLITE_ROW:
		scan()
	case sqlite3.SQLITE_DONE:
		return errors.New("sqlite: a row of the log's own is gone: restore the file from a backup, or remove it to begin anew")
	default:
		return c.failure(status)
	}
	return nil
}

// column64 is an integer column of the statement's present row.
func (c *connection) column64(statement uintptr, index int32) int64 {
	return sqlite3.Xsqlite3_column_int64(c.tls, statement, index)
}

// column views a text column of the statement's present row; nil for NULL.
// SQLite changes that memory with its next step.
func (c *connection) column(statement uintptr, index int32) []byte {
	start := sqlite3.Xsqlite3_column_text(c.tls, statement, index)
	if start == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(memory(start)), sqlite3.Xsqlite3_column_bytes(c.tls, statement, index))
}

// close may be called in any state of the connection.
func (c *connection) close() error {
	for _, statement := range c.statements {
		sqlite3.Xsqlite3_finalize(c.tls, statement)
	}
	status := sqlite3.Xsqlite3_close_v2(c.tls, c.db)
	c.tls.Close()
	if status != sqlite3.SQLITE_OK {
		return fmt.Errorf("sqlite: close a connection: status %d", status)
	}
	return nil
}

// failure says what went wrong in the last call.
func (c *connection) failure(status int32) error {
	message := libc.GoString(sqlite3.Xsqlite3_errmsg(c.tls, c.db))
	return &callError{code: int(status), message: message}
}

// callError is a connection's error, as the driver's is for all other calls.
type callError struct {
	code    int
	message string
}

func (e *callError) Code() int     { return e.code }
func (e *callError) Error() string { return fmt.Sprintf("%s (%d)", e.message, e.code) }

// memory makes a pointer of an address in SQLite's memory.
func memory(address uintptr) unsafe.Pointer {
	pointer := *(*unsafe.Pointer)(unsafe.Pointer(&address))
	runtime.KeepAlive(address)
	return pointer
}
