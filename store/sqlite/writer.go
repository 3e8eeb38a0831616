package sqlite

import (
	"context"
	"errors"
	"unsafe"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sluicehq/sluice/store"
)

// writer is the connection that writes. It is for one goroutine at a time.
type writer struct {
	connection

	// Statements, sqlite3_stmt*.
	begin, commit, rollback uintptr
	last, fit, move, take   uintptr // of write.go
	insert                  uintptr
	large, keep, drop       uintptr // of payload.go
	listed, count, upTo     uintptr // of topics.go
	gather, forget          uintptr
	commitCursor            uintptr
	mark, advance           uintptr // of retention.go
	forgetMarks, trimmed    uintptr
	remove                  uintptr
	holeEpoch, hole         uintptr // of removed.go
	probe                   uintptr // of trouble.go
	keepRequest, request    uintptr // of request.go
	sweepRequests           uintptr

	row     uintptr // memory of SQLite's for the texts of a row
	rowSize int

	// Of topics.go. A transaction that is rolled back leaves them as they are:
	// a topic may lose its turn.
	uncounted int64  // events listed since those in sluice_topics_recent were counted
	lastLeft  string // the topic that has left it last; empty: the first is next
}

func openWriter(path string) (*writer, error) {
	w := &writer{uncounted: minLeave} // others may have left much in sluice_topics_recent
	if err := w.open(path); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *writer) open(path string) error {
	if err := w.connection.open(path); err != nil {
		return err
	}
	synchronous, err := w.prepare(`PRAGMA synchronous = FULL`)
	if err != nil {
		return err
	}
	if _, err := w.exec(synchronous); err != nil {
		return err
	}
	for statement, query := range map[*uintptr]string{
		&w.begin:        `BEGIN IMMEDIATE`, // a transaction that reads first could not be sure to write
		&w.commit:       `COMMIT`,
		&w.rollback:     `ROLLBACK`,
		&w.last:         lastSQL,
		&w.fit:          fitSQL,
		&w.move:         moveSQL,
		&w.take:         takeSQL,
		&w.insert:       insertSQL,
		&w.large:        largeSQL,
		&w.keep:         keepSQL,
		&w.drop:         dropSQL,
		&w.listed:       listSQL,
		&w.count:        countSQL,
		&w.upTo:         upToSQL,
		&w.gather:       gatherSQL,
		&w.forget:       forgetSQL,
		&w.commitCursor: commitSQL,
		&w.mark:         markSQL,
		&w.advance:      advanceSQL,
		&w.forgetMarks:  forgetMarksSQL,
		&w.trimmed:      trimmedSQL,
		&w.remove:       removeSQL,
		&w.holeEpoch:    holeEpochSQL,
		&w.hole:         holeSQL,
		&w.probe:        probeSQL,

		&w.keepRequest:   keepRequestSQL,
		&w.request:       requestSQL,
		&w.sweepRequests: sweepRequestsSQL,
	} {
		if *statement, err = w.prepare(query); err != nil {
			return err
		}
	}
	return nil
}

// borrowWriter lets use have the writer. What use has begun is finished,
// whatever becomes of ctx: SQLite's patience with other processes bounds it.
func (l *Log) borrowWriter(ctx context.Context, use func(*writer) error) error {
	select {
	case w, open := <-l.writer:
		if !open {
			return store.ErrClosed
		}
		defer func() { l.writer <- w }()
		if err := l.checkFile(); err != nil {
			return err
		}
		err := use(w)
		l.trouble.wrote(err)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// transact lets change write in one transaction, which its error rolls back.
func (w *writer) transact(change func() error) error {
	if _, err := w.exec(w.begin); err != nil {
		return err
	}
	err := change()
	if err == nil {
		_, err = w.exec(w.commit)
	}
	if err != nil {
		w.exec(w.rollback) // an error says that SQLite has done so
	}
	return err
}

// insertDraft writes a row of the log. SQLite copies it to a page: the memory
// that its texts are bound in is free for the next row's.
func (w *writer) insertDraft(offset int64, d *store.Draft, insertedAt int64) error {
	if err := w.reserve(len(d.Topic) + len(d.Name) + len(d.Payload) + len(d.Key)); err != nil {
		return err
	}
	at := 0
	status := [6]int32{0: sqlite3.Xsqlite3_bind_int64(w.tls, w.insert, 1, offset)}
	at, status[1] = bindText(w, 2, at, d.Topic)
	at, status[2] = bindText(w, 3, at, d.Name)
	at, status[3] = bindText(w, 4, at, d.Payload)
	if d.Key == nil {
		status[4] = sqlite3.Xsqlite3_bind_null(w.tls, w.insert, 5)
	} else {
		_, status[4] = bindText(w, 5, at, d.Key)
	}
	status[5] = sqlite3.Xsqlite3_bind_int64(w.tls, w.insert, 6, insertedAt)
	for _, status := range status {
		if status != sqlite3.SQLITE_OK {
			return w.failure(status)
		}
	}
	defer sqlite3.Xsqlite3_reset(w.tls, w.insert)
	if status := sqlite3.Xsqlite3_step(w.tls, w.insert); status != sqlite3.SQLITE_DONE {
		return w.failure(status)
	}
	return nil
}

// bindText binds a copy of text, and returns where the next one goes.
func bindText[T string | []byte](w *writer, index int32, at int, text T) (next int, status int32) {
	start := w.row + uintptr(at)
	copy(unsafe.Slice((*byte)(memory(start)), len(text)), text)
	return at + len(text), sqlite3.Xsqlite3_bind_text(w.tls, w.insert, index, start, int32(len(text)), 0) // 0: SQLITE_STATIC
}

// Bounds of the memory of a row that is kept for the next.
const (
	minRow = 4 << 10
	maxRow = 256 << 10
)

// reserve makes room for a row's texts.
func (w *writer) reserve(size int) error {
	if size <= w.rowSize && (w.rowSize <= maxRow || size > maxRow) {
		return nil
	}
	w.release()
	size = max(size, minRow)
	if w.row = sqlite3.Xsqlite3_malloc64(w.tls, sqlite3.Tsqlite3_uint64(size)); w.row == 0 {
		return &callError{code: sqlite3.SQLITE_NOMEM, message: "out of memory"}
	}
	w.rowSize = size
	return nil
}

func (w *writer) release() {
	sqlite3.Xsqlite3_free(w.tls, w.row)
	w.row, w.rowSize = 0, 0
}

// close may be called in any state of the writer.
func (w *writer) close() error {
	w.release()
	return w.connection.close()
}
