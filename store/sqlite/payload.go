package sqlite

import (
	"context"
	"fmt"
	"time"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// bound sets the bound of payloads for all processes if one is given, and reads the
// head, which tells which counts.
func (l *Log) bound(ctx context.Context, maxPayload int64) error {
	if maxPayload > 0 {
		if _, err := l.queries.ExecContext(ctx, `UPDATE sluice_meta SET max_payload = ?1 WHERE max_payload <> ?1`, maxPayload); err != nil {
			return l.failure("set the bound of payloads", err)
		}
	}
	_, err := l.Head(ctx)
	return err
}

// SQLite tells a text's length without reading it, and makes a blob of zeros without
// having it in memory, where it is a row's last column and is not copied before, as
// it is from a SELECT.
const (
	largeSQL = `SELECT coalesce(min(id), 0), size FROM (SELECT id, octet_length(payload) AS size FROM sluice_outbox ORDER BY id LIMIT ?1) WHERE size > ?2`

	keepSQL = `INSERT INTO sluice_rejected (id, reason, rejected_at, topic, event, key, inserted_at, payload)
		VALUES (?1, ?2, ?3, (SELECT topic FROM sluice_outbox WHERE id = ?1), (SELECT event FROM sluice_outbox WHERE id = ?1),
			(SELECT key FROM sluice_outbox WHERE id = ?1), (SELECT inserted_at FROM sluice_outbox WHERE id = ?1), zeroblob(?4))`

	dropSQL = `DELETE FROM sluice_outbox WHERE id = ?1`
)

// setAside moves rows of the outbox that are too large to sluice_rejected, a bounded
// number of bytes. Their payloads are copied in pieces.
func (w *writer) setAside(maxPayload int64) (ids []int64, err error) {
	for bytes := int64(0); bytes < maxMoveBytes; {
		var id, size int64
		err := w.query(w.large, []any{int64(maxMove), maxPayload}, func() {
			id, size = w.column64(w.large, 0), w.column64(w.large, 1)
		})
		if err != nil || id == 0 {
			return ids, err
		}
		reason := fmt.Sprintf("payload has %d bytes; --max-payload-bytes allows %d", size, maxPayload)
		if _, err := w.exec(w.keep, id, reason, time.Now().UnixMicro(), size); err != nil {
			return nil, err
		}
		if err := w.copyPayload(id, sqlite3.Xsqlite3_last_insert_rowid(w.tls, w.db)); err != nil {
			return nil, err
		}
		if _, err := w.exec(w.drop, id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
		bytes += size
	}
	return ids, nil
}

// copyPayload copies a payload of the outbox to a row of sluice_rejected, which has
// room for it.
func (w *writer) copyPayload(from, to int64) error {
	source, err := w.openBlob("sluice_outbox", from, false)
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_blob_close(w.tls, source)
	target, err := w.openBlob("sluice_rejected", to, true)
	if err != nil {
		return err
	}
	defer sqlite3.Xsqlite3_blob_close(w.tls, target)
	if err := w.reserve(maxRow); err != nil {
		return err
	}
	size := sqlite3.Xsqlite3_blob_bytes(w.tls, source)
	for at := int32(0); at < size; at += maxRow {
		piece := min(size-at, maxRow)
		status := sqlite3.Xsqlite3_blob_read(w.tls, source, w.row, piece, at)
		if status == sqlite3.SQLITE_OK {
			status = sqlite3.Xsqlite3_blob_write(w.tls, target, w.row, piece, at)
		}
		if status != sqlite3.SQLITE_OK {
			return w.failure(status)
		}
	}
	return nil
}

// openBlob opens a row's payload. What it returns is to be closed.
func (w *writer) openBlob(table string, id int64, write bool) (blob uintptr, err error) {
	var names [3]uintptr
	for i, name := range []string{"main", table, "payload"} {
		if names[i], err = libc.CString(name); err != nil {
			return 0, err
		}
		defer libc.Xfree(w.tls, names[i])
	}
	const pointer = int(unsafe.Sizeof(uintptr(0)))
	out := w.tls.Alloc(pointer)
	defer w.tls.Free(pointer)
	flags := int32(0)
	if write {
		flags = 1
	}
	if status := sqlite3.Xsqlite3_blob_open(w.tls, w.db, names[0], names[1], names[2], id, flags, out); status != sqlite3.SQLITE_OK {
		return 0, w.failure(status)
	}
	return *(*uintptr)(memory(out)), nil
}
