package sqlaccess

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
)

// server is the database that the URL names.
type server struct {
	config *pgxpool.Config
	user   string
}

// dialTimeout bounds one attempt to connect, unless the URL's connect_timeout does.
const dialTimeout = 10 * time.Second

// newServer reads a database URL. No error quotes it, for it may have a password in it.
func newServer(url string, connections int) (*server, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL cannot be read")
	}
	c := config.ConnConfig
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = dialTimeout
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "sluice access"
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	// A standby may be behind: it would let in whom the primary does not any more.
	c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler { return cutter{conn.Conn()} }
	config.MaxConns, config.MinConns, config.MinIdleConns = int32(min(connections, maxConnections)), 0, 0
	config.MaxConnIdleTime = time.Minute
	return &server{config, c.User}, nil
}

// cutter closes a connection at the end of the time for an answer. The driver would hear out
// the server for a while, which it may not deserve; it still asks it to cancel.
type cutter struct{ conn net.Conn }

// HandleCancel implements ctxwatch.Handler.
func (c cutter) HandleCancel(context.Context) { _ = c.conn.Close() }

// HandleUnwatchAfterCancel implements ctxwatch.Handler.
func (c cutter) HandleUnwatchAfterCancel() {}

// maxConnections bounds what an Asker may have.
const maxConnections = 1000

func (s *server) open() (*pgxpool.Pool, error) {
	pool, err := pgxpool.NewWithConfig(context.Background(), s.config.Copy())
	if err != nil {
		return nil, fmt.Errorf("make the pool for functions that are asked: %w", err)
	}
	return pool, nil
}

// question is what a function is asked.
type question struct {
	role    string
	f       Function
	topic   string
	claims  []byte
	timeout time.Duration
}

// step is where in a question it failed.
type step int

// The steps that there are: each but connecting is a statement.
const (
	connecting step = iota - 1
	beginning
	reading // of the topic and the claims
	changing
	calling
	ending
)

// failure is why there is no answer.
type failure struct {
	step step
	err  error
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// changeSQL has a transaction be what a function is to be asked in. A server that can (on
// Linux) ends one that cannot be canceled, too, once nobody waits for it.
const changeSQL = `SELECT set_config('role', $1, true), set_config('row_security', 'on', true), set_config('statement_timeout', $2, true),
	CASE WHEN version() LIKE '%linux%' THEN set_config('client_connection_check_interval', '1s', true) END`

// ask asks. The error is a *failure. The statements go together and are answered together,
// so that a pooler has one server see to all; parameters are text, and their types are
// written beside them, so that nothing need be prepared.
//
// All is rolled back: what the function has set for its session is not there for the next.
func (q question) ask(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return false, &failure{connecting, inTime(ctx, err)}
	}
	defer conn.Release() // which closes one that is still in a transaction
	pg := conn.Conn().PgConn()
	topic, claims := []byte(q.topic), q.claims
	if len(claims) == 0 {
		claims = []byte("{}")
	}
	timeout := strconv.FormatInt(max(1, q.timeout.Milliseconds()), 10)
	batch := new(pgconn.Batch)
	for _, each := range []struct {
		sql  string
		args [][]byte
	}{
		beginning: {"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", nil},
		reading:   {"SELECT ($1::text) IS NULL, ($2::jsonb) IS NULL", [][]byte{topic, claims}},
		changing:  {changeSQL, [][]byte{[]byte(q.role), []byte(timeout)}},
		calling:   {q.f.call(), [][]byte{topic, claims}},
		ending:    {"ROLLBACK", nil},
	} {
		batch.ExecParams(each.sql, each.args, nil, nil, nil)
	}
	results, err := pg.ExecBatch(ctx, batch).ReadAll()
	if err != nil {
		if !pg.IsClosed() && pg.TxStatus() != 'I' {
			_ = pg.Exec(ctx, "ROLLBACK").Close() // otherwise the connection is closed
		}
		return false, &failure{step(completed(results)), inTime(ctx, err)}
	}
	rows := results[calling].Rows
	if len(rows) != 1 || len(rows[0]) != 1 {
		return false, &failure{calling, fmt.Errorf("it has answered with %d rows", len(rows))}
	}
	return string(rows[0][0]) == "t", nil
}

// inTime is an error with that of a context, if that has ended.
func inTime(ctx context.Context, err error) error {
	if late := ctx.Err(); late != nil {
		return errors.Join(late, err)
	}
	return err
}

// completed counts the statements that were done before one failed.
func completed(results []*pgconn.Result) (n int) {
	for n < len(results) && results[n].Err == nil {
		n++
	}
	return n
}
