package postgres

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/internal/arena"
	"github.com/sluicehq/sluice/store/internal/aside"
	"github.com/sluicehq/sluice/store/internal/groupcommit"
	"github.com/sluicehq/sluice/store/internal/wake"
)

// Config says which database, and how to use it.
type Config struct {
	// DatabaseURL is a Postgres URL or keyword/value string, as libpq and pgx
	// read it. Required. pool_max_conns bounds the connections of readers and
	// writers, search_path names the schema.
	DatabaseURL string

	// Migrate lets Open create or upgrade the tables. Without it, Open
	// refuses a database whose tables are not those of this program.
	Migrate bool

	// PollInterval is how late an event can be when its wake-up is lost, and
	// how soon another node takes over. Shorter costs an empty query each
	// time. While nothing happens and wake-ups are known to come, a second stands
	// in its place if that is longer, or two to take over. Zero means DefaultPollInterval.
	PollInterval time.Duration

	// Retention is how long the log keeps an event, counted from when it was
	// sequenced; readers who come later than that are told ErrTrimmed. It is
	// kept to by the node that sequences, about a minute late at most, and
	// waits for no cursor. Rows of a partition that has been filled go with
	// it, and so take up space for up to as long again. Zero keeps all.
	Retention time.Duration

	// Pooled says that the URL leads to a transaction pooler: no LISTEN, no
	// session locks, no prepared statements. Open notices those that give
	// connections process ids of their own, as PgBouncer does.
	Pooled bool

	// MaxPayload bounds an event's payload, in bytes of its text. It is kept in
	// the database, so that whoever uses that has the same bound: the value given
	// last counts. Zero keeps to what the database says, which begins with
	// [store.DefaultMaxPayload].
	MaxPayload int64

	// MaxRevocations bounds how many may be in force once this log has added one. Fewer
	// take less of every node's memory. Zero means [store.MaxRevocations], which is the
	// most.
	MaxRevocations int

	// Node is what this node is called where others see who leads. Empty: the host's
	// name and the process's id.
	Node string

	// Metrics gets the log's head, the outbox, who leads, what is appended and
	// sequenced, events that are set aside, and the failures of stage "sequence". Nil
	// measures nothing.
	Metrics *metrics.Set

	// Logger gets outages and repairs. Nil means slog.Default.
	Logger *slog.Logger
}

// DefaultPollInterval is what a zero Config.PollInterval means.
const DefaultPollInterval = 100 * time.Millisecond

// Log is a [store.Log] in PostgreSQL. Its methods may be called concurrently.
type Log struct {
	// Immutable after Open.
	server         server // where and how to connect
	pool           *pgxpool.Pool
	poll           time.Duration
	opened         time.Time
	rest           time.Duration // how seldom rounds look while wake-ups come; 0: as often as else
	retention      time.Duration // 0 keeps all
	silence        time.Duration // see maxSilence
	maxRevocations int
	logger         *slog.Logger
	appends        *groupcommit.Group
	failures       *metrics.Counter // of sequencing and trimming
	refused        *metrics.Counter // events that the log does not take
	aside          *aside.Teller    // of payloads that are too large
	healed         bool             // ids were not drawn in ascending order before

	sequenceTime *metrics.Timing
	sequenced    *metrics.Counter

	rounds     rounds
	backlog    backlog
	leadership leadership
	wakeUps    wakeUps
	writing    writing
	vetting    vetting
	budget     budget // owned by Run

	maxPayload atomic.Int64 // as last read from sluice_meta

	requestsSwept time.Time // owned by the one write of appends

	// Written before Run.
	told   func(store.Sequenced) // of rounds; nil: nobody asks
	wanted func() bool           // somebody has a use for what they move

	head    wake.Head
	handoff atomic.Pointer[handoffPage] // moved just now, and not fetched yet; nil if nothing is
	fetched atomic.Int64                // up to here Fetch has read the tables
	asked   atomic.Int64                // when somebody last asked for the head, and was told; by Log.now
	sizes   arena.Forecast
	pace    atomic.Int64 // events that a Fetch bounded in bytes asks for; see fetchSize
	running atomic.Bool
	closed  atomic.Bool
}

var _ store.Log = (*Log)(nil)

// Open connects to the database, checks or migrates its tables, and returns
// the log. An [*store.UnavailableError] says that the database is not there
// yet, and trying again makes sense; any other error does not pass by itself.
func Open(ctx context.Context, config Config) (*Log, error) {
	server, err := newServer(config)
	if err != nil {
		return nil, err
	}
	if config.MaxPayload < 0 {
		return nil, fmt.Errorf("postgres: Config.MaxPayload is %d: want 0, which keeps to what the database says, or more", config.MaxPayload)
	}
	if config.MaxRevocations < 0 || config.MaxRevocations > store.MaxRevocations {
		return nil, fmt.Errorf("postgres: Config.MaxRevocations is %d: want 0, which means %d, to that", config.MaxRevocations, store.MaxRevocations)
	}
	if config.Retention < 0 {
		return nil, fmt.Errorf("postgres: Config.Retention is %v: want 0, which keeps all, or more", config.Retention)
	}
	l := &Log{server: server, poll: config.PollInterval, retention: config.Retention, logger: config.Logger,
		silence: maxSilence, rest: restPause, opened: time.Now(), maxRevocations: cmp.Or(config.MaxRevocations, store.MaxRevocations)}
	if l.poll <= 0 {
		l.poll = DefaultPollInterval
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	if err := l.server.prepare(ctx, config.Migrate, l.logger); err != nil {
		return nil, err
	}
	if l.pool, err = l.server.openPool(); err != nil {
		return nil, err
	}
	if err := l.check(ctx, config.MaxPayload); err != nil {
		l.pool.Close()
		return nil, err
	}
	l.rounds.logger = l.logger
	l.budget = newBudget()
	l.pace.Store(maxPace)
	l.appends = groupcommit.New(l.insert, l.maxPayload.Load, config.Metrics)
	l.failures = config.Metrics.Counter(metrics.StageErrors, metrics.Stage("sequence"))
	l.refused = config.Metrics.Counter(metrics.EventsRejected, metrics.Reason("refused"))
	l.aside = aside.New(l.logger, config.Metrics)
	l.backlog.start = beginning
	l.leadership.node = config.Node
	if config.Node == "" {
		host, _ := os.Hostname() // a name is for people
		l.leadership.node = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	l.measure(config.Metrics)
	return l, nil
}

// measure has the log's state be seen.
func (l *Log) measure(set *metrics.Set) {
	l.sequenceTime, l.sequenced = set.Timing(metrics.SequenceTime), set.Counter(metrics.EventsSequenced)
	set.GaugeFunc(metrics.LogHead, l.head.Offset)
	set.GaugeFunc(metrics.OutboxRows, func() int64 { return l.backlog.seen().Rows })
	set.GaugeFunc(metrics.OutboxAge, func() int64 { return int64(l.backlog.seen().Age / time.Second) })
	set.GaugeFunc(metrics.Leader, l.leadership.gauge)
}

// check makes sure, before the log is used, that it can be.
func (l *Log) check(ctx context.Context, maxPayload int64) error {
	if err := l.server.checkRights(ctx, l.pool); err != nil {
		return err
	}
	if err := l.bound(ctx, maxPayload); err != nil {
		return err
	}
	return l.checkIDs(ctx)
}

// Wait implements [store.Log].
func (l *Log) Wait(ctx context.Context, after int64) error { return l.waitFor(ctx, after, l.poll) }

// WaitFor is Wait, with atMost in place of the poll interval; 0 stands for that.
func (l *Log) WaitFor(ctx context.Context, after int64, atMost time.Duration) error {
	return l.waitFor(ctx, after, cmp.Or(max(0, atMost), l.poll))
}

// KnownHead is the newest offset that this process has heard of. It is a hint: what is
// found not to be there is forgotten.
func (l *Log) KnownHead() int64 { return l.head.Offset() }

// Advance makes an offset known that another process has heard of, and wakes who waits
// for it.
func (l *Log) Advance(offset int64) { l.head.Advance(offset) }

// Append implements [store.Log].
func (l *Log) Append(ctx context.Context, drafts []store.Draft) error {
	return l.appends.Append(ctx, drafts)
}

// AppendOnce implements [store.Requests].
func (l *Log) AppendOnce(ctx context.Context, request store.Request, drafts []store.Draft) (count int, again bool, err error) {
	return l.appends.AppendOnce(ctx, request, drafts)
}

// Close implements [store.Log].
func (l *Log) Close() error {
	l.appends.Close()
	if !l.closed.Swap(true) {
		l.pool.Close()
	}
	return nil
}
