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
	// FetchBytes ends a read early once payloads exceed it, and nothing is read
	// while [PagesUnderWay] times as much has been read and not been routed. Zero: no bound.
	FetchBytes int
	// Fetched is told the offset of the last event of every read, before
	// anyone else sees its events. Nil: nobody asks.
	Fetched func(offset int64)
	// Skipped is told up to which offset events were trimmed before they were
	// read, before anyone sees an event beyond it. Nil: nobody asks.
	Skipped func(through int64)
	// Metrics and Logger may be nil.
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// PagesUnderWay is how many pages of the most bytes may be on the line before no
// other is read. One that is being read comes on top, and one that is prefetched.
const PagesUnderWay = 2

// Producer reads the log from a position on, as many events as it is asked
// for. One goroutine at a time may call Fetch; Prefetch may be called by another.
type Producer struct {
	// Immutable after NewProducer.
	reader  Reader
	config  ProducerConfig
	fetched *metrics.Counter
	took    *metrics.Timing

	prefetch prefetch
	underWay underWay

	// Owned by the caller of Fetch.
	rest     []store.Event // of a page that was prefetched, when less was wanted
	drained  bool          // there was no more when it was last read: the next read waits
	position atomic.Int64  // read by others
	skipped  atomic.Pointer[gap]
}

// gap is what was trimmed before it was read: from right after one offset up to
// another.
type gap struct{ after, through int64 }

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
	p.prefetch.size = config.FetchSize
	p.prefetch.read = func(ctx context.Context, after int64) ([]store.Event, error) {
		return p.read(ctx, after, config.FetchSize)
	}
	p.underWay.freed = make(chan struct{}, 1)
	p.position.Store(config.After)
	return p
}

// Position is the offset of the last event that was fetched.
func (p *Producer) Position() int64 { return p.position.Load() }

// reached is how far the line has got, if everything up to an offset has come to
// its end: where a gap follows, to the end of that.
func (p *Producer) reached(offset int64) int64 {
	if g := p.skipped.Load(); g != nil && offset >= g.after {
		return max(offset, g.through)
	}
	return offset
}

// Prefetch tells, while Fetch is at work, that demand events are wanted by now:
// what Fetch was asked for included. If that makes another page, it is read
// meanwhile, and the next Fetch finds it.
func (p *Producer) Prefetch(demand int) { p.prefetch.wanted(demand) }

// Fetch returns the next events, at least one and at most demand, and waits
// until there is one. With an error the position stays where it was. What was
// begun by a call and not returned ends with its context: see Wait.
func (p *Producer) Fetch(ctx context.Context, demand int) ([]store.Event, error) {
	for len(p.rest) == 0 {
		if p.drained {
			if err := p.reader.Wait(ctx, p.Position()); err != nil {
				return nil, fmt.Errorf("wait for events after %d: %w", p.Position(), err)
			}
		}
		if err := p.underWay.wait(ctx); err != nil {
			return nil, fmt.Errorf("wait until the line has routed more: %w", err)
		}
		events, err := p.fetch(ctx, demand)
		if err != nil {
			return nil, err
		}
		p.underWay.add(events)
		p.rest, p.drained = events, p.isShort(events, demand)
	}
	n := min(demand, len(p.rest))
	events := p.rest[:n:n]
	if p.rest = p.rest[n:]; len(p.rest) == 0 {
		p.rest = nil
	}
	last := events[n-1].Offset
	p.position.Store(last)
	if p.config.Fetched != nil {
		p.config.Fetched(last)
	}
	p.fetched.Add(int64(n))
	return events, nil
}

// isShort tells whether a read has come to the log's end, as far as its answer
// shows: a store that has much to send may send less of it than it was asked for.
func (p *Producer) isShort(events []store.Event, demand int) bool {
	if len(events) >= min(demand, p.config.FetchSize) {
		return false
	}
	bytes := 0
	for i := range events {
		bytes += len(events[i].Payload)
	}
	return p.config.FetchBytes == 0 || bytes < p.config.FetchBytes/4
}

// Wait returns when no read is under way any more. Call it after the last Fetch,
// when that one's context has ended.
func (p *Producer) Wait() { p.prefetch.reads.Wait() }

// fetch brings the page behind the position: the one that was prefetched, or
// else one that is read now.
func (p *Producer) fetch(ctx context.Context, demand int) (events []store.Event, err error) {
	page := p.prefetch.begin(ctx, p.Position(), demand)
	defer func() { p.prefetch.end(len(events)) }()
	if events := page.take(); len(events) > 0 {
		return events, nil
	}
	for {
		events, err = p.read(ctx, p.Position(), min(demand, p.config.FetchSize))
		if !errors.Is(err, store.ErrTrimmed) {
			return events, err
		}
		if err := p.skipTrimmed(ctx, p.Position()); err != nil {
			return nil, err
		}
	}
}

// read makes one read of the log.
func (p *Producer) read(ctx context.Context, after int64, size int) ([]store.Event, error) {
	start := time.Now()
	events, err := p.reader.Fetch(ctx, after, store.Limit{
		Events: size,
		Bytes:  p.config.FetchBytes,
		Epoch:  p.config.Epoch,
	})
	if err != nil {
		return nil, fmt.Errorf("fetch after %d: %w", after, err)
	}
	if len(events) > 0 {
		p.took.Observe(time.Since(start))
	}
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
	if head.Trimmed <= after {
		return fmt.Errorf("fetch after %d: %w", after, store.ErrTrimmed) // another server says otherwise
	}
	p.config.Logger.Warn("events were trimmed before this node read them",
		"after", after, "trimmed", head.Trimmed, "events", head.Trimmed-after)
	if p.config.Skipped != nil {
		p.config.Skipped(head.Trimmed)
	}
	p.skipped.Store(&gap{after, head.Trimmed})
	p.position.Store(head.Trimmed)
	return nil
}
