package sluice

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/socket/phoenix"
	"github.com/sluicehq/sluice/stages"
	"github.com/sluicehq/sluice/store"
)

const (
	// commitInterval is how often the position is committed: how much is
	// routed again after a crash.
	commitInterval = time.Second
	// segmentBytes is where a segment is cut, so that a mailbox is charged
	// for it in pieces, and the writer can take turns between channels.
	segmentBytes = 128 << 10
)

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
	return stages.NewDelivery(stages.WatchEpoch(log, s.monitor.Suspect), phoenix.Encoder{}, s.hub, stages.DeliveryConfig{
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
