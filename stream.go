package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sluicehq/sluice/internal/cluster"
	"github.com/sluicehq/sluice/internal/lease"
	"github.com/sluicehq/sluice/internal/lograte"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/sqlite"
)

const (
	// commitInterval is how often the position is committed: how much is
	// routed again after a crash.
	commitInterval = time.Second
	// segmentBytes is where a segment is cut, so that a mailbox is charged
	// for it in pieces, and the writer can take turns between channels.
	segmentBytes = 128 << 10
)

// ErrNodeTaken is returned by [Service.Run] when another service has taken this one's
// Config.Node, which it could not keep: it hung, or the database was away from it, for
// longer than a name is kept. Two of one name would move one cursor, so it has ended.
var ErrNodeTaken = errors.New("another node has taken this node's name: give each a --node of its own")

// takeName has no other node of this store have this one's name. It waits while one
// has it, and returns a [*FieldError] if that keeps it.
func (s *Service) takeName(ctx context.Context, log store.Log) (*lease.Lease, error) {
	name, err := lease.Acquire(ctx, lease.Config{Leases: log, Name: cluster.NodeLease + s.config.Node, Waiting: s.readiness.Fail, Logger: s.logger})
	if taken := new(lease.TakenError); errors.As(err, &taken) {
		return nil, &FieldError{"Node", s.config.Node, fmt.Sprintf("a name that no other node on the same database has, and %s has had this one since %s: stop it, or choose another --node",
			taken.By, taken.Since.UTC().Format(time.RFC3339))}
	}
	return name, err
}

// runAs runs the log until ctx ends, follows what it revokes and sends webhooks of it, until
// life ends, keeps the name meanwhile and gives it back at the end: the line has come to rest then, and another may go on from the cursor. If the
// name is lost, fail is called with ErrNodeTaken.
func (s *Service) runAs(ctx, life context.Context, name *lease.Lease, log store.Log, fail context.CancelCauseFunc) error {
	keeping := start(ctx, "name", func(ctx context.Context) error {
		if err := name.Keep(ctx); err != nil {
			return fmt.Errorf("%w: %w", ErrNodeTaken, err)
		}
		return nil
	}, fail)
	defer s.closeFunctions() // nobody is connected any more
	defer name.Release()
	defer keeping.stop() // what it ended with is why all ends
	defer s.followRevocations(ctx, log, fail).stop()
	defer s.sendWebhooks(life, log, fail).stop()
	return log.Run(ctx)
}

// nodeLog is the log of a node that has its name. While it may have lost that, unheard,
// it leaves the cursor alone.
type nodeLog struct {
	store.Log
	name *lease.Lease
}

// Commit implements [store.Log].
func (n nodeLog) Commit(ctx context.Context, name string, c store.Cursor) error {
	if err := n.name.Check(); err != nil {
		return err
	}
	return n.Log.Commit(ctx, name, c)
}

// enter takes this node's name, and says where it begins to read.
func (s *Service) enter(ctx context.Context, log store.Log) (*lease.Lease, store.Cursor, error) {
	name, err := s.takeName(ctx, log)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	at, err := s.begin(ctx, log)
	if err == nil {
		err = s.loadRevocations(ctx, log)
	}
	if err == nil {
		err = s.openFunctions(ctx)
	}
	if err != nil {
		name.Release()
		return nil, store.Cursor{}, err
	}
	return name, at, nil
}

// begin is where this node begins to read, and the log that it counts in. It is
// asked for until the store can tell.
func (s *Service) begin(ctx context.Context, log store.Log) (store.Cursor, error) {
	return untilAvailable(ctx, func() (store.Cursor, error) {
		at, err := s.position(ctx, log)
		if err != nil {
			s.readiness.Fail(err)
		}
		return at, err
	}, s.logger)
}

func (s *Service) position(ctx context.Context, log store.Log) (store.Cursor, error) {
	extent, err := log.Extent(ctx)
	if err != nil {
		return store.Cursor{}, err
	}
	word, after, _ := s.config.start() // after is 0 unless it is an offset
	switch word {
	case "offset":
		if after > extent.Offset {
			return store.Cursor{}, &FieldError{"Start", s.config.Start, fmt.Sprintf("committed, head, earliest, or an offset up to the log's head, which is %d", extent.Offset)}
		}
	case "head":
		after = extent.Offset
	case "earliest":
		after = extent.Trimmed
	case "committed":
		cursor, ok, err := log.Cursor(ctx, s.config.Node)
		if err != nil {
			return store.Cursor{}, fmt.Errorf("read the cursor %q: %w", s.config.Node, err)
		}
		if ok { // of an earlier epoch, perhaps: then from where the two part
			after, _ = extent.Resume(cursor)
		}
	}
	s.monitor.Open(extent)
	s.erasures.Begin(extent.Erased)
	return store.Cursor{Epoch: extent.Epoch, Offset: min(max(after, extent.Trimmed), extent.Offset)}, nil
}

// start splits Start into its word and, for an offset, its value; ok tells whether it
// is either.
func (c *Config) start() (word string, offset int64, ok bool) {
	switch c.Start {
	case "committed", "head", "earliest":
		return c.Start, 0, true
	}
	offset, err := strconv.ParseInt(c.Start, 10, 64)
	return "offset", offset, err == nil && offset >= 0
}

// segments bounds what a mailbox is given at a time, so that it takes it whole.
func (s *Service) segments() stages.EncoderConfig {
	return stages.EncoderConfig{
		SegmentSize:  min(s.config.BatchSize, s.config.MaxDemand, s.config.MailboxSize),
		SegmentBytes: segmentBytes,
		Metrics:      s.metrics,
		Logger:       s.logger,
	}
}

// newDelivery lays out the line from the log to the hub.
func (s *Service) newDelivery(log store.Log, after int64, epoch string) *stages.Delivery {
	s.hub.SetEpoch(epoch)
	s.hub.Advance(after)
	size := min(s.config.BatchSize, s.config.MaxDemand)
	return stages.NewDelivery(stages.WatchEpoch(log, s.monitor.Suspect), s.encoder(), s.hub, stages.DeliveryConfig{
		Producer: stages.ProducerConfig{
			After:      after,
			Epoch:      epoch,
			FetchSize:  min(s.config.FetchSize, s.config.MaxDemand),
			FetchBytes: int(s.config.FetchBytes),
			Fetched:    s.hub.Advance,
			Skipped:    s.hub.Skip,
		},
		Encoder:      s.segments(),
		Lanes:        s.config.lanes(),
		MaxDemand:    s.config.MaxDemand,
		MinDemand:    s.config.minDemand(),
		BatchSize:    size,
		BatchTimeout: s.config.BatchTimeout,
		RateLimit:    s.config.RateLimit,
		Commit: func(ctx context.Context, position int64) error {
			return log.Commit(ctx, s.config.Node, store.Cursor{Epoch: epoch, Offset: position})
		},
		CommitInterval: commitInterval,
		DrainTimeout:   s.config.DrainTimeout,
		Metrics:        s.metrics,
		Logger:         s.logger,
	})
}

func (c *Config) lanes() int {
	if c.Lanes > 0 {
		return c.Lanes
	}
	return runtime.GOMAXPROCS(0)
}

func (c *Config) minDemand() int {
	if c.MinDemand > 0 {
		return c.MinDemand
	}
	return c.MaxDemand / 2
}

// openLog opens the configured store, trying again for as long as it cannot be
// reached: a database that starts later than its users is no reason to die.
// failing hears of every attempt that failed. An error that waiting does not
// mend, such as a schema that is newer than this program, is returned.
func openLog(ctx context.Context, config *Config, logger *slog.Logger, set *metrics.Set, failing func(error)) (store.Log, error) {
	open := func() (store.Log, error) {
		log, err := openLogOnce(ctx, config, logger, set)
		if err != nil {
			failing(err)
		}
		return log, err
	}
	return untilAvailable(ctx, open, logger)
}

// untilAvailable does what needs the store, again and again while that is an outage:
// right after a failover even a store that was open a moment ago may be away. Any
// other error is returned.
func untilAvailable[T any](ctx context.Context, do func() (T, error), logger *slog.Logger) (T, error) {
	waiting := backoff.NewExponentialBackOff()
	waiting.InitialInterval = 100 * time.Millisecond
	waiting.MaxInterval = 5 * time.Second
	try := func() (T, error) {
		result, err := do()
		if err != nil && !isOutage(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}
	throttle := lograte.New(time.Minute)
	return backoff.Retry(ctx, try,
		backoff.WithBackOff(waiting),
		backoff.WithMaxElapsedTime(0), // for ever
		backoff.WithNotify(func(err error, wait time.Duration) {
			if _, ok := throttle.Allow(""); ok {
				logger.Warn("store not reachable; trying again until it is", "error", err, "wait", wait.Round(time.Millisecond))
			}
		}),
	)
}

func isOutage(err error) bool {
	unavailable := new(store.UnavailableError)
	return errors.As(err, &unavailable)
}

// lockFolder takes the embedded store's folder for this service alone.
func (s *Service) lockFolder() (unlock func() error, err error) {
	if s.config.DatabaseURL != "" {
		return func() error { return nil }, nil
	}
	dir := s.config.DataDir
	unlock, err = sqlite.Lock(dir, fmt.Sprintf("process %d, node %s", os.Getpid(), s.config.Node))
	if inUse := new(sqlite.InUseError); errors.As(err, &inUse) {
		return nil, &FieldError{"DataDir", dir, "a folder that no other service has, or --database-url for several: " + inUse.Error()}
	}
	return unlock, err
}

func openLogOnce(ctx context.Context, config *Config, logger *slog.Logger, set *metrics.Set) (store.Log, error) {
	if config.DatabaseURL == "" {
		log, err := sqlite.Open(ctx, sqlite.Config{
			Dir:          config.DataDir,
			PollInterval: config.PollInterval,
			Retention:    config.Retention,
			MaxPayload:   int64(config.MaxPayloadBytes),
			Node:         config.Node,
			Metrics:      set,
			Logger:       logger,
		})
		if err != nil {
			return nil, err // not a nil *sqlite.Log in an interface
		}
		return log, nil
	}
	log, err := postgres.Open(ctx, postgres.Config{
		DatabaseURL:  config.DatabaseURL,
		PollInterval: config.PollInterval,
		Retention:    config.Retention,
		Migrate:      *config.Migrate,
		MaxPayload:   int64(config.MaxPayloadBytes),
		Node:         config.Node,
		Metrics:      set,
		Logger:       logger,
	})
	if err != nil {
		return nil, err
	}
	return log, nil
}

// Migrate creates or upgrades the tables of the store that config names, and
// returns once they are up to date. Several may do so at once.
func Migrate(ctx context.Context, config Config) error {
	config = config.withDefaults()
	var f faults
	config.validateDatabase(&f)
	if err := f.join(); err != nil {
		return err
	}
	if config.DatabaseURL != "" { // who migrates need not be able to serve
		return postgres.Migrate(ctx, config.DatabaseURL, config.logger())
	}
	log, err := openLogOnce(ctx, &config, config.logger(), nil)
	if err != nil {
		return err
	}
	return log.Close()
}

// Grant gives a role of the database that config names all rights that it needs to
// serve, though it owns nothing: call it after [Migrate], as the owner of the tables.
func Grant(ctx context.Context, config Config, role string) error {
	var f faults
	config.validateDatabase(&f)
	if err := f.join(); err != nil {
		return err
	}
	if config.DatabaseURL == "" {
		return errors.New("sluice: the embedded store has no roles to grant rights to: name a database by Config.DatabaseURL")
	}
	return postgres.Grant(ctx, config.DatabaseURL, role, config.logger())
}
