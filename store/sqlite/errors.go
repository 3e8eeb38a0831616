package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sluicehq/sluice/store"
)

// coded is an error of SQLite's: the driver's, or a connection's.
type coded interface {
	error
	Code() int // the extended result code
}

// failure turns the driver's error into one of package store's: the data is
// invalid, the file is not available now, or, for what does not pass by
// itself, an error with the operation and, where there is one, a remedy.
func (l *Log) failure(op string, err error) error {
	var refusal coded
	if outage := new(store.UnavailableError); errors.As(err, &outage) && !l.closed.Load() {
		return err
	}
	switch {
	case l.closed.Load():
		return fmt.Errorf("sqlite: %s: %w", op, store.ErrClosed)
	case !errors.As(err, &refusal), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("sqlite: %s: %w", op, err)
	}
	unavailable := &store.UnavailableError{Op: "sqlite: " + op, Addr: l.path, Err: err}
	switch refusal.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return invalid(refusal)
	case sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_NOMEM:
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		unavailable.Hint = "another process has held the file's lock for long: end its transaction"
	case sqlite3.SQLITE_FULL:
		unavailable.Hint = "the disk is full: make room"
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		unavailable.Hint = "let this program's user read and write the folder and the files in it"
		if f, err := os.Open(os.DevNull); err == nil {
			_ = f.Close()
		} else if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) { // SQLite does not tell
			unavailable.Hint = "too many files and connections are open: raise the limit (ulimit -n)"
		}
	case sqlite3.SQLITE_IOERR:
		unavailable.Hint = "the disk fails: see the system's log"
		unavailable.MaybeDone = true
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("sqlite: %s: %s is damaged or not a database: %w (restore it from a backup, or move it away to begin anew)", op, l.path, err)
	default:
		return fmt.Errorf("sqlite: %s: %s: %w", op, l.path, err)
	}
	return unavailable
}

func isBusy(err error) bool {
	var refusal coded
	return errors.As(err, &refusal) && refusal.Code()&0xff == sqlite3.SQLITE_BUSY
}

// invalid names the field by the violated constraint, whose name also says
// what is allowed.
func invalid(refusal coded) error {
	e := &store.InvalidError{Index: -1, Reason: refusal.Error()}
	if _, words, found := strings.Cut(refusal.Error(), "sluice_"); found {
		words, _, _ = strings.Cut(words, " ")
		for _, field := range []string{"topic", "event", "key", "payload"} {
			if rule, found := strings.CutPrefix(words, field+"_"); found {
				e.Field, e.Reason = field, "breaks the rule that it "+strings.ReplaceAll(rule, "_", " ")
			}
		}
	}
	return e
}
