package chaos

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite"

	"github.com/sluicehq/sluice/store/sqlite"
)

// embeddedFaults are those of one node on the embedded store.
var embeddedFaults = []faultKind{
	nodeKilled, nodeRestarted, nodeHung, snapshotHeld, clientsCut, clientsStalled,
	nodeLeftBehind, clientsAway, clientsReturn, logEmptied, logShortened,
	rowsLarge, rowsMany, fileLocked, topicsErased,
}

// EmbeddedKinds is how many kinds of faults are injected on the embedded store.
var EmbeddedKinds = len(embeddedFaults)

// embeddedAuditSQL is auditSQL for the embedded store. An epoch's first offset is
// set by a trigger of the store's own, before or after this one.
const embeddedAuditSQL = `
CREATE TABLE chaos_epochs (number INTEGER PRIMARY KEY, epoch TEXT NOT NULL, first INTEGER NOT NULL);
INSERT INTO chaos_epochs SELECT number, epoch, first FROM sluice_epochs;
CREATE TABLE chaos_log (entry INTEGER PRIMARY KEY AUTOINCREMENT, epoch INTEGER NOT NULL, "offset" INTEGER NOT NULL,
  topic TEXT NOT NULL, head TEXT NOT NULL, at REAL NOT NULL);
CREATE TRIGGER chaos_note_epoch AFTER INSERT ON sluice_epochs BEGIN
  INSERT INTO chaos_epochs SELECT number, epoch, first FROM sluice_epochs WHERE number = new.number
    ON CONFLICT (number) DO UPDATE SET first = excluded.first;
END;
CREATE TRIGGER chaos_note_first AFTER UPDATE OF first ON sluice_epochs BEGIN
  INSERT INTO chaos_epochs VALUES (new.number, new.epoch, new.first) ON CONFLICT (number) DO UPDATE SET first = excluded.first;
END;
CREATE TRIGGER chaos_note AFTER INSERT ON sluice_log BEGIN
  INSERT INTO chaos_log (epoch, "offset", topic, head, at) VALUES ((SELECT max(number) FROM chaos_epochs),
    new."offset", new.topic, substr(new.payload, 1, 64), (julianday('now') - 2440587.5) * 86400);
END;`

// openFile opens the embedded store's file as another program does.
func (r *run) openFile() (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+filepath.Join(r.dataDir(), sqlite.FileName)+"?_txlock=immediate&_pragma=busy_timeout(60000)")
}

// dataDir is where the node keeps the embedded store.
func (r *run) dataDir() string { return filepath.Join(r.folder, "data") }

// startEmbedded starts the node, begins the audit, and makes the writers.
func (r *run) startEmbedded() error {
	node, err := r.newServe(0, "--data-dir", r.dataDir())
	if err != nil {
		return err
	}
	r.nodes = append(r.nodes, node)
	if err := errors.Join(node.Start(), node.Ready(r.ctx)); err != nil {
		return err
	}
	if r.file, err = r.openFile(); err != nil {
		return err
	}
	if _, err := r.file.ExecContext(r.ctx, embeddedAuditSQL); err != nil {
		return fmt.Errorf("begin the audit: %w", err)
	}
	r.outbox = newEmbeddedOutbox(r.file)
	r.makeWriters(r.outbox)
	return nil
}

// closeFile closes the embedded store's file, where it was opened.
func (r *run) closeFile() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// readEmbeddedAudit reads the whole book.
func (r *run) readEmbeddedAudit() (*audit, error) {
	a := &audit{byTopic: map[string][]entry{}}
	var of epoch
	if err := r.each(`SELECT number, epoch, first FROM chaos_epochs ORDER BY number`, []any{&of.number, &of.name, &of.first}, func() {
		a.epochs = append(a.epochs, of)
	}); err != nil {
		return nil, fmt.Errorf("read the epochs: %w", err)
	}
	var e entry
	var topic, head string
	var at float64
	if err := r.each(`SELECT epoch, "offset", topic, head, at FROM chaos_log ORDER BY entry`, []any{&e.epoch, &e.offset, &topic, &head, &at}, func() {
		e.at = time.UnixMicro(int64(at * 1e6))
		if _, err := fmt.Sscanf(head, `{"w":%d,"n":%d,`, &e.writer, &e.number); err != nil {
			e.writer, e.number = -1, -1 // a client's
		}
		a.all = append(a.all, e)
		a.byTopic[topic] = append(a.byTopic[topic], e)
	}); err != nil {
		return nil, fmt.Errorf("read what came into the log: %w", err)
	}
	return a, nil
}

// each calls do for each row of the file, which has been read into those places.
func (r *run) each(query string, into []any, do func()) error {
	rows, err := r.file.QueryContext(r.ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		do()
	}
	return rows.Err()
}

// waiting is how many rows the embedded outbox has.
func (r *run) waiting() (n int64, err error) {
	err = r.file.QueryRowContext(r.ctx, `SELECT count(*) FROM sluice_outbox`).Scan(&n)
	return n, err
}

// applyToFile has a fault happen to the embedded store's file, or what is in it.
func (r *run) applyToFile(f fault, last func()) error {
	switch f.kind {
	case fileLocked:
		return r.holdWriter(last)
	case snapshotHeld:
		return r.holdReader(last)
	case logEmptied, logShortened:
		if r.removed.IsZero() {
			r.removed = time.Now()
		}
		which := ``
		if f.kind == logShortened {
			which = ` WHERE "offset" <= (SELECT (min("offset") + max("offset")) / 2 FROM sluice_log)`
		}
		_, err := r.file.ExecContext(r.ctx, `DELETE FROM sluice_log`+which)
		return err
	case topicsErased:
		return r.eraseTopics(f)
	case rowsLarge, rowsMany:
		rows, padding := largeRows, maxPayload-256
		if f.kind == rowsMany {
			rows, padding = manyRows, 16
		}
		return r.bulk.insert(r.ctx, r.outbox, int(f.whom%uint64(len(r.topics))), rows, padding)
	}
	return nil
}

// holdWriter keeps the right to write from everybody else.
func (r *run) holdWriter(last func()) error {
	tx, err := r.file.BeginTx(r.ctx, nil)
	if err != nil {
		return err
	}
	last()
	return tx.Rollback()
}

// holdReader reads the file as it is now all the while: what is written in the
// meantime cannot leave the write-ahead log.
func (r *run) holdReader(last func()) error {
	conn, err := r.file.Conn(r.ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var n int64
	if _, err = conn.ExecContext(r.ctx, `BEGIN DEFERRED`); err == nil {
		err = conn.QueryRowContext(r.ctx, `SELECT count(*) FROM sluice_log`).Scan(&n)
	}
	last()
	_, ending := conn.ExecContext(context.WithoutCancel(r.ctx), `ROLLBACK`)
	return errors.Join(err, ending)
}

// eraseTopics erases every second topic while some clients are away: they come
// back to what is left of it.
func (r *run) eraseTopics(f fault) error {
	if err := r.nodes[0].Ready(r.ctx); err != nil {
		return err
	}
	r.someClients(f.whom, func(c *client) { c.leave(2 * f.lasts) })
	pause(r.ctx, nil, f.lasts)
	for i := int(f.whom % 2); i < len(r.topics); i += 2 {
		if err := r.erase(r.topics[i]); err != nil {
			return err
		}
	}
	return nil
}

// erase empties the payloads of a topic's events: all that there are by now.
func (r *run) erase(topic string) error {
	r.erased[topic] = true // some of it perhaps, whatever is answered
	body, err := json.Marshal(struct {
		Topic string `json:"topic"`
	}{topic})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(r.ctx, http.MethodPost, "http://"+r.nodes[0].Admin+"/api/erase", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: standstill, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close() // it has been read
	r.tell("erased %s: %d %s", topic, answer.StatusCode, bytes.TrimSpace(text))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("benchmarks: an erasure was answered %d %s", answer.StatusCode, text)
	}
	return err
}
