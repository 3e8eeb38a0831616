package baseline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// Rows is the baseline of rows, on a scratch of its own: [New], woken by
// each commit to a table, which takes what is there with a DELETE, and writes it
// to the sockets once that is committed. Nothing that hands committed rows on,
// and still knows after a crash which ones, can do less: it has no log, no
// offsets, and no other reader.
type Rows struct {
	Program     string // a sluice binary
	DatabaseURL string
	Pinned      bool      // as in Child
	Log         io.Writer // as in Child
}

// Name implements [Server].
func (*Rows) Name() string { return report.BaselineName }

// Start implements [Server].
func (f *Rows) Start(ctx context.Context) (*target.Endpoint, error) {
	config := sluice.Config{DatabaseURL: f.DatabaseURL}
	scratch, err := target.NewSchema(ctx, &config)
	if err != nil {
		return nil, err
	}
	child := New(f.Program, f.Pinned, f.Log)
	child.Args = append(child.Args, "--database-url", config.DatabaseURL)
	return child.StartOn(ctx, scratch, config.DatabaseURL)
}

// queue is the table that the floor takes rows from, with the connection
// that does so. It is for one goroutine at a time.
type queue struct {
	conn  *pgx.Conn
	woken bool // by a commit, since the last look
}

// queueSQL makes it where the search_path leads: inserted into as the outbox
// is, with no more on it than the queue takes. Where there is an outbox already
// it fails, and so takes nobody's rows. Notifications go by the schema's name,
// since they are the whole database's.
const queueSQL = `
CREATE TABLE sluice_outbox (id bigint GENERATED ALWAYS AS IDENTITY, topic text, event text, payload json);
CREATE FUNCTION wake() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify(TG_TABLE_SCHEMA, ''); RETURN NULL; END $$;
CREATE TRIGGER wake AFTER INSERT ON sluice_outbox FOR EACH ROW EXECUTE FUNCTION wake()`

// openQueue makes the table, and listens.
func openQueue(ctx context.Context, database string) (*queue, error) {
	config, err := pgx.ParseConfig(database)
	if err != nil {
		return nil, fmt.Errorf("read the database's URL: %w", err)
	}
	q := &queue{}
	config.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) { q.woken = true }
	if q.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := q.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("make a queue: %w", err), q.close())
	}
	return q, nil
}

func (q *queue) prepare(ctx context.Context) error {
	if _, err := q.conn.Exec(ctx, queueSQL); err != nil {
		return err
	}
	var schema string
	if err := q.conn.QueryRow(ctx, `SELECT current_schema()`).Scan(&schema); err != nil {
		return err
	}
	_, err := q.conn.Exec(ctx, `LISTEN `+pgx.Identifier{schema}.Sanitize())
	return err
}

// row is a row, as it is taken.
type row struct {
	id      int64
	topic   string
	event   string
	payload []byte
}

// run hands rows on until ctx ends. A connection that is lost is an error: the
// floor is no service.
func (q *queue) run(ctx context.Context, write func(rows []row) error) error {
	for {
		rows, err := q.next(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("take rows: %w", err)
		}
		if err := write(rows); err != nil {
			return fmt.Errorf("write %d rows to sockets: %w", len(rows), err)
		}
	}
}

// next takes what is there once there may be something. What commits meanwhile
// wakes it again.
func (q *queue) next(ctx context.Context) ([]row, error) {
	for !q.woken {
		if err := q.conn.PgConn().WaitForNotification(ctx); err != nil {
			return nil, err
		}
	}
	q.woken = false
	answer, err := q.conn.Query(ctx, `DELETE FROM sluice_outbox RETURNING id, topic, event, payload`)
	if err != nil {
		return nil, err
	}
	// The answer ends with the commit, or with what became of it.
	rows, err := pgx.CollectRows(answer, func(row pgx.CollectableRow) (r row, err error) {
		return r, row.Scan(&r.id, &r.topic, &r.event, &r.payload)
	})
	// They come as they lie in the table, which uses space again.
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.id, b.id) })
	return rows, err
}

// appendLine appends a row as a publisher would have written it, see
// [swarm.Poster].
func (r *row) appendLine(dst []byte) []byte {
	dst = strconv.AppendQuote(append(dst, `{"topic":`...), r.topic)
	dst = strconv.AppendQuote(append(dst, `,"event":`...), r.event)
	return append(append(append(dst, `,"payload":`...), r.payload...), '}')
}

// goodbye is how long Postgres may take to hear that the floor ends.
const goodbye = time.Second

func (q *queue) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbye)
	defer cancel()
	return q.conn.Close(ctx)
}
