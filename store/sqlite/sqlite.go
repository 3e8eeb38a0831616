package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	_ "modernc.org/sqlite" // the driver

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/aside"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
	"github.com/sluicehq/sluice/store/internal/wake"
)

// FileName is the database's name in Config.Dir.
const FileName = "sluice.db"

// Config says where the log lies, and how to use it.
type Config struct {
	// Dir is the folder of the log; it is created. Required.
	Dir string

	// PollInterval is how late an event can be that another process has
	// inserted. Shorter costs a look at shared memory each time. Zero means
	// DefaultPollInterval.
	PollInterval time.Duration

	// Retention is how long the log keeps an event, counted from when it got
	// there; readers who come later than that are told ErrTrimmed. Run keeps
	// to it, about a minute late at most, and waits for no cursor. The file
	// does not shrink: what is freed is used again. Zero keeps all.
	Retention time.Duration

	// MaxPayload bounds an event's payload, in bytes of its text. It is kept in
	// the file, so that whoever opens it has the same bound: the value given
	// last counts. Zero keeps to what the file says, which begins with
	// [store.DefaultMaxPayload].
	MaxPayload int64

	// MaxRevocations bounds how many may be in force once this log has added one. Fewer
	// take less of every node's memory. Zero means [store.MaxRevocations], which is the
	// most.
	MaxRevocations int

	// Node is what this process is called, as who leads.
	Node string

	// Metrics gets the log's head, the outbox, what is appended and sequenced, events
	// that are set aside, and the failures of stage "sequence". Nil measures nothing.
	Metrics *metrics.Set

	// Logger gets failures and recoveries of Run. Nil means slog.Default.
	Logger *slog.Logger
}

// DefaultPollInterval is what a zero Config.PollInterval means.
const DefaultPollInterval = 100 * time.Millisecond

// busyTimeout is how long a write waits for another process's transaction.
var busyTimeout = 5 * time.Second // tests change it

// Bounds on connections: those that Fetch reads with at the same time, and
// those that everything else does, Run's own among them.
const (
	maxReaders = 4
	maxQueries = 3
)

// Log is a [store.Log] in a file. Its methods may be called concurrently.
type Log struct {
	// Immutable after Open.
	path           string
	file           os.FileInfo // as it was opened
	queries        *sql.DB     // reads of a row or two; before that, what makes the tables
	poll           time.Duration
	retention      time.Duration // 0 keeps all
	maxRevocations int
	logger         *slog.Logger
	appends        *groupcommit.Group
	failures       *metrics.Counter // of Run
	aside          *aside.Teller    // of payloads that are too large
	trouble        trouble

	sequenceTime *metrics.Timing
	sequenced    *metrics.Counter
	outbox       outbox

	writer  chan *writer // who writes takes it and puts it back: SQLite has one writer anyway. Close takes it, and closes the chan.
	readers chan *reader // Fetch takes one and puts it back; nil is a place for one. Close takes all, and closes the chan.

	handoff    atomic.Pointer[handoffPage] // what the last transaction has appended, for who waited for it; nil for none
	maxPayload atomic.Int64                // as last read from sluice_meta

	leases  leases
	head    wake.Head
	running atomic.Bool
	closed  atomic.Bool
}

var _ store.Log = (*Log)(nil)

// Open opens the log in config.Dir, and creates what is missing.
func Open(ctx context.Context, config Config) (*Log, error) {
	if config.Dir == "" {
		return nil, errors.New("sqlite: Config.Dir is empty: name a folder for the log")
	}
	if config.MaxPayload < 0 {
		return nil, fmt.Errorf("sqlite: Config.MaxPayload is %d: want 0, which keeps to what the file says, or more", config.MaxPayload)
	}
	if config.MaxRevocations < 0 || config.MaxRevocations > store.MaxRevocations {
		return nil, fmt.Errorf("sqlite: Config.MaxRevocations is %d: want 0, which means %d, to that", config.MaxRevocations, store.MaxRevocations)
	}
	if config.Retention < 0 {
		return nil, fmt.Errorf("sqlite: Config.Retention is %v: want 0, which keeps all, or more", config.Retention)
	}
	if err := os.MkdirAll(config.Dir, dirMode); err != nil {
		return nil, fmt.Errorf("sqlite: create the folder of the log: %w", err)
	}
	dir, err := filepath.Abs(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	l := &Log{path: filepath.Join(dir, FileName), poll: config.PollInterval, retention: config.Retention, logger: config.Logger,
		maxRevocations: cmp.Or(config.MaxRevocations, store.MaxRevocations)}
	if l.poll <= 0 {
		l.poll = DefaultPollInterval
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	l.writer = make(chan *writer, 1)
	l.writer <- nil // until it is open
	l.readers = make(chan *reader, maxReaders)
	for range maxReaders {
		l.readers <- nil
	}
	if err := l.open(ctx, config.MaxPayload); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	l.trouble.logger, l.trouble.path = l.logger, l.path
	l.appends = groupcommit.New(l.write, l.maxPayload.Load, config.Metrics)
	l.outbox.node = config.Node
	l.measure(config.Metrics)
	l.aside = aside.New(l.logger, config.Metrics)
	return l, nil
}

func (l *Log) open(ctx context.Context, maxPayload int64) (err error) {
	protect(l.path)
	if l.queries, err = sql.Open("sqlite", dataSource(l.path)); err != nil {
		return l.failure("open", err)
	}
	l.queries.SetMaxOpenConns(maxQueries)
	l.queries.SetMaxIdleConns(maxQueries)
	if err := l.enterWAL(ctx); err != nil {
		return err
	}
	if err := l.migrate(ctx); err != nil {
		return err
	}
	w, err := openWriter(l.path)
	if err != nil {
		return l.failure("open", err)
	}
	<-l.writer
	l.writer <- w
	if l.file, err = os.Stat(l.path); err != nil {
		return l.failure("open", err)
	}
	return l.bound(ctx, maxPayload)
}

// enterWAL makes the file keep a write-ahead log, in which readers and the
// writer do not wait for each other. Processes that do so at the same moment
// are told that the file is busy without having waited: all but one try again.
func (l *Log) enterWAL(ctx context.Context) error {
	enter := func() (sql.Result, error) {
		result, err := l.queries.ExecContext(ctx, `PRAGMA journal_mode = WAL`)
		if err != nil && !isBusy(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}
	pause := backoff.NewConstantBackOff(5 * time.Millisecond)
	if _, err := backoff.Retry(ctx, enter, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(busyTimeout)); err != nil {
		return l.failure("open", err)
	}
	return nil
}

// dataSource makes the driver set up each connection.
func dataSource(path string) string {
	params := url.Values{ // of the driver
		"_txlock": {"immediate"}, // a transaction that reads first could not be sure to write
		"_pragma": {
			fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
			"synchronous(FULL)",
		},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: params.Encode()}).String()
}

// Wait implements [store.Log].
func (l *Log) Wait(ctx context.Context, after int64) error { return l.head.Wait(ctx, after, l.poll) }

// Append implements [store.Log]. It needs nobody to run the log: the drafts
// are in it when Append returns.
func (l *Log) Append(ctx context.Context, drafts []store.Draft) error {
	return l.appends.Append(ctx, drafts)
}

// AppendOnce implements [store.Requests]. As Append, it needs nobody to run the log.
func (l *Log) AppendOnce(ctx context.Context, request store.Request, drafts []store.Draft) (count int, again bool, err error) {
	return l.appends.AppendOnce(ctx, request, drafts)
}

// Close implements [store.Log].
func (l *Log) Close() error {
	l.appends.Close()
	if l.closed.Swap(true) {
		return nil
	}
	l.handoff.Store(nil)
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	for range maxReaders { // waits for those in use
		if r := <-l.readers; r != nil {
			errs = append(errs, r.close())
		}
	}
	close(l.readers)
	if l.queries != nil {
		errs = append(errs, l.queries.Close())
	}
	if w := <-l.writer; w != nil { // last: it moves what is in the -wal file to the database
		errs = append(errs, w.close())
	}
	close(l.writer)
	return errors.Join(errs...)
}
