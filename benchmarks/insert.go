package benchmarks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// inserter puts events where applications do. It is for one goroutine at a
// time.
type inserter interface {
	// backlog inserts so many events of the load, to appear all at once: in
	// the log where sequenced, else in the outbox.
	backlog(ctx context.Context, load Load, events int64, sequenced bool) error
	// one inserts an event, and returns when it is durable.
	one(ctx context.Context, topic string, payload []byte) error
	close() error
}

// newInserter connects to what the node reads from.
func (n *node) newInserter(ctx context.Context) (inserter, error) {
	if n.config.DatabaseURL == "" {
		return &poster{url: n.admin + "/api/events"}, nil
	}
	conn, err := pgx.Connect(ctx, n.config.DatabaseURL)
	if err != nil {
		return nil, fmt.Errorf("connect to insert: %w", err)
	}
	return &sqlInserter{conn}, nil
}

// sqlInserter inserts rows with SQL, as an application does.
type sqlInserter struct{ conn *pgx.Conn }

// backlogSQL makes the rows of [Load.appendPayload] on the server.
const backlogSQL = `INSERT INTO sluice_outbox (topic, event, payload)
	SELECT $1 || i % $2, $3, ('{"n":' || i / $2 || ',"at":0,"pad":"' || $4 || '"}')::json
	FROM generate_series(0, $5::bigint - 1) AS i ORDER BY i`

// lockSQL waits for the lock that sluice_sequence tries to take.
const lockSQL = `SELECT pg_advisory_xact_lock(1936487682, 'sluice_outbox'::regclass::oid::integer)`

func (s *sqlInserter) backlog(ctx context.Context, load Load, events int64, sequenced bool) (err error) {
	tx, err := s.conn.Begin(ctx)
	if err != nil {
		return fmt.Errorf("insert %d rows: %w", events, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // of no effect after the commit
	_, err = tx.Exec(ctx, backlogSQL, topicPrefix, int64(load.Topics), eventName, load.padding(), events)
	if err != nil {
		return fmt.Errorf("insert %d rows: %w", events, err)
	}
	if sequenced {
		// What the sequencer does, within this transaction: the rows appear in
		// the log at its commit. Its lock is the node's at times.
		if _, err := tx.Exec(ctx, lockSQL); err != nil {
			return fmt.Errorf("wait for the sequencer: %w", err)
		}
		var moved int64
		if err := tx.QueryRow(ctx, `SELECT moved FROM sluice_sequence($1)`, events).Scan(&moved); err != nil {
			return fmt.Errorf("sequence %d rows: %w", events, err)
		}
		if moved != events {
			return fmt.Errorf("sequence %d rows: %d were moved", events, moved)
		}
	}
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit %d rows: %w", events, err)
	}
	return nil
}

func (s *sqlInserter) one(ctx context.Context, topic string, payload []byte) error {
	_, err := s.conn.Exec(ctx, `INSERT INTO sluice_outbox (topic, event, payload) VALUES ($1, $2, $3)`, topic, eventName, payload)
	if err != nil {
		return fmt.Errorf("insert a row: %w", err)
	}
	return nil
}

func (s *sqlInserter) close() error { return s.conn.Close(context.Background()) }

// client keeps connections between requests, and none after a node's end.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxInserters}}

// poster appends through the admin API: nobody else writes to the embedded
// store at speed. What it appends is in the log when the answer comes.
type poster struct {
	url  string
	body bytes.Buffer // reused
}

func (p *poster) backlog(ctx context.Context, load Load, events int64, _ bool) error {
	p.body.Reset()
	var payload []byte
	for i := range events {
		payload = load.appendPayload(payload[:0], i/int64(load.Topics), time.Time{})
		p.event(topicName(int(i%int64(load.Topics))), payload)
	}
	return p.post(ctx, "application/x-ndjson")
}

func (p *poster) one(ctx context.Context, topic string, payload []byte) error {
	p.body.Reset()
	p.event(topic, payload)
	return p.post(ctx, "application/json")
}

func (p *poster) event(topic string, payload []byte) {
	fmt.Fprintf(&p.body, `{"topic":%s,"event":"%s","payload":%s}`+"\n", strconv.Quote(topic), eventName, payload)
}

func (p *poster) post(ctx context.Context, kind string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(p.body.Bytes()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	if answer.StatusCode != http.StatusAccepted {
		return fmt.Errorf("append events: answered %d %s", answer.StatusCode, text)
	}
	return nil
}

func (p *poster) close() error {
	client.CloseIdleConnections()
	return nil
}
