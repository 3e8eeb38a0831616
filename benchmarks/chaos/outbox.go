package chaos

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// outbox is where rows are written, in transactions.
type outbox interface {
	connect(ctx context.Context) (outboxConn, error)
}

// outboxConn is a connection to it, for one goroutine at a time.
type outboxConn interface {
	// begin inserts rows in a transaction that is to be ended. An error means
	// that there is none.
	begin(ctx context.Context, rows []outboxRow) (transaction, error)
	close(ctx context.Context)
}

// transaction is one that has inserted its rows.
type transaction interface {
	Commit(ctx context.Context) error
	Rollback(ctx context.Context) error
}

// outboxRow is a row to be inserted.
type outboxRow struct{ topic, event, payload string }

// postgresOutbox is the one at a URL.
type postgresOutbox string

func (o postgresOutbox) connect(ctx context.Context) (outboxConn, error) {
	conn, err := pgx.Connect(ctx, string(o))
	return postgresConn{conn}, err
}

type postgresConn struct{ *pgx.Conn }

func (c postgresConn) begin(ctx context.Context, rows []outboxRow) (transaction, error) {
	tx, err := c.Begin(ctx)
	if err != nil {
		return nil, err
	}
	var inserts pgx.Batch
	for _, row := range rows {
		inserts.Queue(`INSERT INTO sluice_outbox (topic, event, payload) VALUES ($1, $2, $3)`, row.topic, row.event, row.payload)
	}
	if err := tx.SendBatch(ctx, &inserts).Close(); err != nil {
		return nil, errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	return tx, nil
}

func (c postgresConn) close(ctx context.Context) {
	_ = c.Close(context.WithoutCancel(ctx)) // broken, perhaps
}

// embeddedOutbox is that of an embedded store's file. The transactions of one
// program wait for each other: SQLite lets one write at a time.
type embeddedOutbox struct {
	file *sql.DB
	turn chan struct{} // of capacity 1, full while somebody writes
}

func newEmbeddedOutbox(file *sql.DB) *embeddedOutbox {
	return &embeddedOutbox{file, make(chan struct{}, 1)}
}

// fileFree is how long the file is left to other programs between two
// transactions: SQLite has no queue for those who want to write, and who takes it
// again at once starves them.
const fileFree = 20 * time.Millisecond

func (o *embeddedOutbox) connect(context.Context) (outboxConn, error) { return o, nil }

func (o *embeddedOutbox) begin(ctx context.Context, rows []outboxRow) (transaction, error) {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	pause(ctx, nil, fileFree)
	tx, err := o.file.BeginTx(ctx, nil)
	if err != nil {
		<-o.turn
		return nil, err
	}
	t := &embeddedTransaction{tx: tx, outbox: o}
	for _, row := range rows {
		if _, err := tx.ExecContext(ctx, `INSERT INTO sluice_outbox (topic, event, payload) VALUES (?, ?, ?)`, row.topic, row.event, row.payload); err != nil {
			return nil, errors.Join(err, t.Rollback(ctx))
		}
	}
	return t, nil
}

func (*embeddedOutbox) close(context.Context) {}

// embeddedTransaction has its outbox's turn until it has ended.
type embeddedTransaction struct {
	tx     *sql.Tx
	outbox *embeddedOutbox
	ended  bool
}

// Commit implements transaction.
func (t *embeddedTransaction) Commit(context.Context) error { return t.end(t.tx.Commit) }

// Rollback implements transaction. After a commit it has no effect.
func (t *embeddedTransaction) Rollback(context.Context) error { return t.end(t.tx.Rollback) }

func (t *embeddedTransaction) end(how func() error) error {
	if t.ended {
		return sql.ErrTxDone
	}
	t.ended = true
	defer func() { <-t.outbox.turn }()
	return how()
}
