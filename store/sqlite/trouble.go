package sqlite

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sluicehq/sluice/store"
)

// tellPause is how often trouble is told, for as long as it lasts.
const tellPause = time.Minute

// probePause is for how long nothing may have been written before the log writes to see
// whether it could: with how long it waits for a lock, less than ten seconds.
const probePause = 3 * time.Second

// maxStall is for how long the outbox may not be moved before that is a stall.
var maxStall = store.MaxStall // tests change it

// trouble is what keeps the log from being written.
type trouble struct {
	logger *slog.Logger // immutable
	path   string       // immutable

	mu sync.Mutex
	// Guarded by mu.
	failing time.Time // since when the outbox cannot be moved; zero while it can
	cause   error     // why
	told    time.Time
	refused bool      // the last transaction, whosoever, for what is no fault of its data
	written time.Time // when the last one was taken; zero before that
}

// begin notes that the outbox cannot be moved, and tells why.
func (t *trouble) begin(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if t.failing.IsZero() {
		t.failing = now
	}
	t.cause = err
	if now.Sub(t.told) >= tellPause {
		t.told = now
		t.logger.Error("log fails; trying again until it works", "error", err, "for", now.Sub(t.failing).Round(time.Second))
	}
}

// end notes that it can.
func (t *trouble) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.failing.IsZero() {
		t.logger.Info("log works again", "path", t.path, "outage", time.Since(t.failing).Round(time.Millisecond))
	}
	t.failing, t.cause, t.told = time.Time{}, nil, time.Time{}
}

// wrote notes what became of a transaction.
func (t *trouble) wrote(err error) {
	var refusal coded
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.refused, t.written = false, time.Now()
	case errors.As(err, &refusal):
		switch refusal.Code() & 0xff {
		case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		default:
			t.refused = true
		}
	}
}

// state returns for how long the outbox has not been moved, and why, and whether it is
// not known that a transaction would be taken now.
func (t *trouble) state() (failing time.Duration, cause error, doubtful bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.failing.IsZero() {
		failing = time.Since(t.failing)
	}
	return failing, t.cause, t.refused || time.Since(t.written) >= probePause
}

const probeSQL = `UPDATE sluice_meta SET trimmed = trimmed`

// Sequencing implements [store.Log]. After a write that has failed, and where nobody has
// written for a while, it tries one of its own.
func (l *Log) Sequencing(ctx context.Context) error {
	if err := l.checkFile(); err != nil {
		return err
	}
	l.lookAtOutbox(ctx)
	failing, cause, doubtful := l.trouble.state()
	if failing >= maxStall {
		return &store.StalledError{For: failing, Err: cause}
	}
	if !doubtful {
		return nil
	}
	err := l.borrowWriter(ctx, func(w *writer) error {
		return w.transact(func() error {
			_, err := w.exec(w.probe)
			return err
		})
	})
	if err != nil {
		return l.failure("write", err)
	}
	return nil
}
