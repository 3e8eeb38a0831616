package stages

import (
	"context"
	"hash/maphash"
	"log/slog"
	"time"

	"github.com/sluicehq/sluice/channels/outbound"
	"github.com/sluicehq/sluice/metrics"
	"github.com/sluicehq/sluice/pipeline"
	"github.com/sluicehq/sluice/store"
)

// DeliveryConfig says how a [Delivery] line is laid out.
type DeliveryConfig struct {
	Producer ProducerConfig
	Encoder  EncoderConfig

	// Lanes is how many lanes topics are partitioned over. At least 1.
	Lanes int
	// MaxDemand and MinDemand are how many events may be under way in a lane,
	// and how few before it asks for more. As many again may wait for a slow
	// lane while the others go on; then all wait.
	MaxDemand, MinDemand int
	// BatchSize and BatchTimeout are how many events are encoded together at
	// most, and how long an incomplete batch waits for more. With a timeout
	// of zero it does not wait: what is there goes on.
	BatchSize    int
	BatchTimeout time.Duration
	// RateLimit bounds the events per second of all lanes together. Zero: none.
	RateLimit int
	// Commit stores the position below which all events have been routed. It
	// is called every CommitInterval at most, and at the end.
	Commit         func(ctx context.Context, position int64) error
	CommitInterval time.Duration
	// DrainTimeout bounds how long Run takes to end.
	DrainTimeout time.Duration

	// Metrics and Logger may be nil.
	Metrics *metrics.Set
	Logger  *slog.Logger
}

// fetchStage names the producer in metrics and logs.
const fetchStage = "fetch"

// Delivery is the line from the log to the subscribers' mailboxes.
type Delivery struct {
	topology *pipeline.Topology
	producer *Producer
	acks     *pipeline.Acknowledger[store.Event]
	start    int64
}

// Hub is what the line needs of the topics: who watches, and how to reach
// them.
type Hub interface {
	Watchers
	Subscribers
}

// NewDelivery lays out the line; nothing moves before Run.
func NewDelivery(log Reader, frames outbound.Encoder, hub Hub, config DeliveryConfig) *Delivery {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	config.Producer.Metrics, config.Producer.Logger = config.Metrics, config.Logger
	config.Encoder.Metrics, config.Encoder.Logger = config.Metrics, config.Logger

	topology := pipeline.NewTopology(pipeline.Config{
		DrainTimeout: config.DrainTimeout,
		Observer:     newObserver(config.Metrics),
		OnFailure:    reportFailure(config.Logger),
	})
	routed := config.Metrics.Counter(metrics.EventsRouted)
	producer := NewProducer(log, config.Producer)
	acks := pipeline.NewAcknowledger(topology, pipeline.AcknowledgerConfig[store.Event]{
		Counted: func(done, _ int) {
			routed.Add(int64(done))
			producer.underWay.routed()
		},
		Position: func(e *store.Event) int64 { return e.Offset },
		Commit:   config.Commit,
		Every:    config.CommitInterval,
	})
	producer.underWay.limit, producer.underWay.safe = PagesUnderWay*config.Producer.FetchBytes, acks.Safe
	events := pipeline.NewProducer(topology, pipeline.ProducerConfig[store.Event]{
		Name:           fetchStage,
		Demand:         producer.Fetch,
		OnDemandGrowth: producer.Prefetch,
		Dispatcher:     pipeline.PartitionBy(config.Lanes, byTopic(config.Lanes)).WithQueue(config.MaxDemand),
		Acknowledger:   acks,
	})
	limit := limiter(config.RateLimit)
	for lane := range config.Lanes {
		encoder := NewEncoder(frames, hub, config.Encoder)
		line := events.Subscribe(pipeline.SubscribeOptions[store.Event]{
			Partition: lane,
			MaxDemand: config.MaxDemand,
			MinDemand: config.MinDemand,
		})
		if limit != nil {
			line.Via(pipeline.Limit[store.Event]("limit", limit))
		}
		line.Via(pipeline.Batcher[store.Event]{Size: config.BatchSize, Timeout: config.BatchTimeout}).
			Via(pipeline.Transform("encode", encoder.Encode)).
			Into(pipeline.Sink("route", routeTo(hub)))
	}
	return &Delivery{topology: topology, producer: producer, acks: acks, start: config.Producer.After}
}

// Run moves events until ctx ends, then drains.
func (d *Delivery) Run(ctx context.Context) error {
	defer d.producer.Wait()
	return d.topology.Run(ctx)
}

// Position is the offset up to which every event has been routed.
func (d *Delivery) Position() int64 {
	position, ok := d.acks.Safe()
	if !ok {
		position = d.start
	}
	return d.producer.reached(position)
}

// limitsPerSecond is over how many parts of a second a rate limit is spread,
// so that what it lets through comes evenly.
const limitsPerSecond = 20

// limiter allows rate events per second, all lanes together. Nil: any number.
func limiter(rate int) *pipeline.Limiter {
	if rate == 0 {
		return nil
	}
	events := max(1, rate/limitsPerSecond)
	return pipeline.NewLimiter(events, time.Duration(events)*time.Second/time.Duration(rate))
}

// byTopic spreads topics over lanes, each topic always to the same one.
func byTopic(lanes int) func(*store.Event) int {
	seed := maphash.MakeSeed()
	return func(e *store.Event) int { return int(maphash.String(seed, e.Topic) % uint64(lanes)) }
}
