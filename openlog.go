package sluice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
	"github.com/sluicehq/sluice/store/sqlite"
)

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
	return backoff.Retry(ctx, try,
		backoff.WithBackOff(waiting),
		backoff.WithMaxElapsedTime(0), // for ever
		backoff.WithNotify(func(err error, wait time.Duration) {
			logger.Warn("store not reachable, trying again", "error", err, "wait", wait.Round(time.Millisecond))
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
		Migrate:      config.Migrate,
		MaxPayload:   int64(config.MaxPayloadBytes),
		Metrics:      set,
		Logger:       logger,
	})
	if err != nil {
		return nil, err
	}
	return log, nil
}
