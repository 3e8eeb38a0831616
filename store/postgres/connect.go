package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// dialTimeout bounds one attempt to connect, unless the URL's connect_timeout does.
var dialTimeout = 10 * time.Second // tests change it

// minVersion is the oldest server_version_num: the bodies of sluice_publish
// are written in a form that came with PostgreSQL 14.
const minVersion = 140000

// server is one database as the URL names it.
type server struct {
	pool   *pgxpool.Config
	addr   string // host and port, or several, for messages; never a password
	pooled bool   // by a transaction pooler
	schema string // where the tables are, or are to be made; known once connected
	setUp  string // SQL that each direct connection begins with; known once the schema is
}

func newServer(config Config) (server, error) {
	if config.DatabaseURL == "" {
		return server{}, errors.New("postgres: Config.DatabaseURL is empty: give a URL such as postgres://user:password@host:5432/database")
	}
	pool, err := pgxpool.ParseConfig(config.DatabaseURL)
	if err != nil {
		return server{}, fmt.Errorf("postgres: the database URL cannot be read: want %w", unreadable(err))
	}
	if pool.ConnConfig.ConnectTimeout == 0 {
		pool.ConnConfig.ConnectTimeout = dialTimeout
	}
	if params := pool.ConnConfig.RuntimeParams; params["application_name"] == "" {
		params["application_name"] = "sluice"
	}
	if err := setConnect(pool.ConnConfig); err != nil {
		return server{}, err
	}
	return server{pool: pool, addr: addresses(pool.ConnConfig), pooled: config.Pooled}, nil
}

// CheckURL reports what is wrong with a database URL as it is written, nil if it can be
// read. The error says what is wanted, and quotes nothing of the URL, which may have a
// password in it.
func CheckURL(url string) error {
	if _, err := pgxpool.ParseConfig(url); err != nil {
		return unreadable(err)
	}
	return nil
}

// unreadable says how a URL is written that can be read. The driver quotes the one
// that it was given and does its best to hide the password. Its best is not good
// enough for one that is in the wrong place.
func unreadable(err error) error {
	return fmt.Errorf("postgres://user:password@host:5432/database, with special characters percent-encoded (%s)", parseReason(err))
}

// parseReason cuts from a parse error what quotes the URL.
func parseReason(err error) string {
	text := err.Error()
	if _, reason, found := strings.Cut(text, "`: "); found {
		text = reason
	}
	if reason, _, found := strings.Cut(text, " ("); found {
		text = reason
	}
	return text
}

// addresses lists where the driver tries to connect.
func addresses(config *pgx.ConnConfig) string {
	list := []string{address(config.Host, config.Port)}
	for _, fallback := range config.Fallbacks {
		if addr := address(fallback.Host, fallback.Port); addr != list[len(list)-1] {
			list = append(list, addr)
		}
	}
	return strings.Join(list, ", ")
}

func address(host string, port uint16) string {
	if strings.HasPrefix(host, "/") { // the folder of a Unix socket
		return fmt.Sprintf("%s/.s.PGSQL.%d", host, port)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// prepare makes sure that the database can carry the log, and that its tables are
// those of this program. What it refuses stays refused.
func (s *server) prepare(ctx context.Context, migrate bool, logger *slog.Logger) error {
	conn, err := s.connect(ctx, logger)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	if migrate {
		if err = s.migrate(ctx, conn, logger); err == nil {
			err = s.followSchema(ctx, conn)
		}
	} else {
		err = s.checkVersion(ctx, conn)
	}
	if mayBeOfRights(err) {
		if missing := s.checkRights(ctx, conn); missing != nil {
			return missing
		}
	}
	return err
}

// connect makes a connection that works where the tables are, or are to be, to a
// database that is new enough and takes all of Unicode.
func (s *server) connect(ctx context.Context, logger *slog.Logger) (*pgx.Conn, error) {
	probe := s.pool.ConnConfig.Copy()
	probe.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // works through any pooler
	conn, err := pgx.ConnectConfig(ctx, probe)
	if err != nil {
		return nil, s.failure("connect", err, reads)
	}
	if err := s.look(ctx, conn, logger); err != nil {
		disconnect(conn)
		return nil, err
	}
	return conn, nil
}

func (s *server) look(ctx context.Context, conn *pgx.Conn, logger *slog.Logger) error {
	facts, err := conn.PgConn().Exec(ctx, `SELECT pg_backend_pid(), current_setting('server_version_num'), current_setting('server_encoding')`).ReadAll()
	if err != nil {
		return s.failure("ask the server's version", err, reads)
	}
	pid, version, encoding := string(facts[0].Rows[0][0]), string(facts[0].Rows[0][1]), string(facts[0].Rows[0][2])
	if number, err := strconv.Atoi(version); err != nil || number < minVersion {
		return fmt.Errorf("postgres: %s runs version %s: %d.%d or newer is needed", s.addr, version, minVersion/10000, minVersion%10000)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("postgres: database %q at %s has encoding %s: create one with ENCODING 'UTF8'", s.pool.ConnConfig.Database, s.addr, encoding)
	}
	if pid != strconv.Itoa(int(conn.PgConn().PID())) {
		s.pooled = true
	}
	if !s.pooled {
		if err := conn.PgConn().Exec(ctx, sessionSQL).Close(); err != nil {
			return s.failure("set up a session", err, reads)
		}
	} else {
		if err := s.checkPooled(ctx, conn); err != nil {
			return err
		}
		logger.Warn("database is behind a connection pooler: events are found by polling; a direct connection would wake the log", "addr", s.addr)
	}
	if s.schema, err = s.findSchema(ctx, conn, logger); err != nil {
		return err
	}
	return s.enterSchema(ctx, conn)
}

// plansSQL has a connection's statements planned once, and by index. A plan that
// was made for a log of a page or two would read all of it, and be kept for as
// long as nobody analyzes what the log has become since. To plan anew instead
// takes as long as a read does, once there are many partitions.
const plansSQL = `SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off`

// openPool makes the pool of readers and writers. It connects when it is used.
func (s *server) openPool() (*pgxpool.Pool, error) {
	if s.pooled { // others get its connections too, and each statement is planned anew
		s.pool.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	} else {
		switch s.pool.ConnConfig.DefaultQueryExecMode {
		case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol: // would answer in text
			s.pool.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		}
		s.pool.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
			return conn.Exec(ctx, s.setUp+"; "+plansSQL).Close()
		}
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), s.pool)
	if err != nil {
		return nil, fmt.Errorf("postgres: make the pool for %s: %w", s.addr, err)
	}
	return pool, nil
}

// disconnect closes a connection, whatever state it is in, and waits for the
// driver's own goroutine to end.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)              // an error means that it is closed the hard way
	conn.PgConn().Conn().Close() // the driver would hear out a server that does not answer
	<-conn.PgConn().CleanupDone()
}
