package stages

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/store"
)

// Reader is what the producer needs of the log.
type Reader interface {
	Fetch(ctx context.Context, after int64, limit store.Limit) ([]store.Event, error)
	Wait(ctx context.Context, after int64) error
	Head(ctx context.Context) (store.Head, error)
}

// ProducerConfig says how a [Producer] reads.
type ProducerConfig struct {
	// After is the offset to begin behind, Epoch the epoch that it is of. Empty:
	// whichever the log is in.
	After int64
	Epoch string
	// FetchSize is how many events one read brings at most: more of them cost
	// fewer round trips, fewer bound what is in memory. At least 1.
	FetchSize int
	// FetchBytes ends a read early once payloads exceed it. Zero: no bound.
	FetchBytes int
	// Fetched is told the offset of the last event of every read, before
	// anyone else sees its events. Nil: nobody asks.
	Fetched func(offset int64)
	// Metrics and Logger may be nil.
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// Producer reads the log from a position on, as many events as it is asked
// for. One goroutine at a time may call Fetch.
type Producer struct {
	// Immutable after NewProducer.
	reader  Reader
	config  ProducerConfig
	fetched *metrics.Counter
	took    *metrics.Timing

	position atomic.Int64 // written by the caller of Fetch
}

// NewProducer makes a producer; it reads nothing yet.
func NewProducer(reader Reader, config ProducerConfig) *Producer {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	p := &Producer{
		reader:  reader,
		config:  config,
		fetched: config.Metrics.Counter(metrics.EventsFetched),
		took:    config.Metrics.Timing(metrics.StageTime, metrics.Stage("fetch")),
	}
	p.position.Store(config.After)
	return p
}

// Position is the offset of the last event that was fetched.
func (p *Producer) Position() int64 { return p.position.Load() }

// Fetch returns the next events, at least one and at most demand, and waits
// until there is one. With an error the position stays where it was.
func (p *Producer) Fetch(ctx context.Context, demand int) ([]store.Event, error) {
	for {
		events, err := p.read(ctx, demand)
		if err != nil || len(events) > 0 {
			return events, err
		}
		if err := p.reader.Wait(ctx, p.Position()); err != nil {
			return nil, fmt.Errorf("wait for events after %d: %w", p.Position(), err)
		}
	}
}

// read makes one read of the log.
func (p *Producer) read(ctx context.Context, demand int) ([]store.Event, error) {
	start, after := time.Now(), p.Position()
	events, err := p.reader.Fetch(ctx, after, store.Limit{
		Events: min(demand, p.config.FetchSize),
		Bytes:  p.config.FetchBytes,
		Epoch:  p.config.Epoch,
	})
	if errors.Is(err, store.ErrTrimmed) {
		if err := p.skipTrimmed(ctx, after); err != nil {
			return nil, err
		}
		return p.read(ctx, demand)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch after %d: %w", after, err)
	}
	if len(events) == 0 {
		return nil, nil
	}
	last := events[len(events)-1].Offset
	p.position.Store(last)
	if p.config.Fetched != nil {
		p.config.Fetched(last)
	}
	p.fetched.Add(int64(len(events)))
	p.took.Observe(time.Since(start))
	return events, nil
}

// skipTrimmed moves the position to the first event that is still kept. What
// lies between was kept for as long as retention says and is gone; to wait
// for it would be to wait for ever.
func (p *Producer) skipTrimmed(ctx context.Context, after int64) error {
	head, err := p.reader.Head(ctx)
	if err != nil {
		return fmt.Errorf("fetch after %d: %w", after, err)
	}
	p.config.Logger.Warn("events were trimmed before this node read them",
		"after", after, "trimmed", head.Trimmed, "events", head.Trimmed-after)
	p.position.Store(max(after, head.Trimmed))
	return nil
}
