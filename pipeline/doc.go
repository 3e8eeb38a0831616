// Package pipeline moves batches of events from producers to sinks, no faster
// than the sinks have asked for: GenStage's idea, in Go, composed with
// go-streams. It knows no event type, no store and no topic.
//
// # Demand
//
// Events travel down and demand travels up. A [Producer] is never told "here is
// room, hurry"; it is told "n events are wanted", and it gives at most n. Take a
// line with MaxDemand 4 and MinDemand 2 under a producer that counts:
//
//	line asks 4        producer gives 1 2 3 4      in flight 4, asked and unmet 0
//	sink ends 1        nothing is asked            in flight 3
//	sink ends 2        outstanding fell to 2:
//	line asks 2        producer gives 5 6          in flight 4
//
// A line never has more than MaxDemand events between its producer and the end
// of its sink, so a slow sink is felt by the producer's handler, which is simply
// not called, and nothing in between needs a buffer that can overflow.
//
// What travels is a [Batch], never a single event: it tracks the producer's
// events that it stands for. A stage that drops events acknowledges them, a
// stage that turns 500 events into 20 passes the tracking along, a batcher joins
// it, and the sink acknowledges them all. Acknowledging an event returns its
// demand to the line and tells the [Acknowledger].
//
// # A worked example
//
//	topology := pipeline.NewTopology(pipeline.Config{DrainTimeout: 10 * time.Second})
//	ack := pipeline.NewAcknowledger(topology, pipeline.AcknowledgerConfig[Row]{
//		Position: func(r *Row) int64 { return r.Offset },
//		Commit:   cursor.Save, // func(ctx context.Context, position int64) error
//		Every:    time.Second,
//	})
//	rows := pipeline.NewProducer(topology, pipeline.ProducerConfig[Row]{
//		Name:         "fetch",
//		Demand:       reader.Fetch, // func(ctx context.Context, demand int) ([]Row, error)
//		Dispatcher:   pipeline.PartitionBy(lanes, func(r *Row) int { return int(r.Account) % lanes }),
//		Acknowledger: ack,
//	})
//	for lane := range lanes {
//		rows.Subscribe(pipeline.SubscribeOptions[Row]{Partition: lane, MaxDemand: 1000}).
//			Via(pipeline.Filter("live", func(r *Row) bool { return !r.Deleted })).
//			Via(pipeline.Batcher[Row]{Size: 500}).
//			Via(pipeline.Transform("encode", encoder.Encode)). // func(context.Context, []Row) ([]Document, error)
//			Into(pipeline.Sink("index", index.Write))          // func(context.Context, []Document) error
//	}
//	err := topology.Run(ctx) // until ctx ends; then drains
//
// # Who stands where
//
//   - [Topology]: owns every goroutine; Run starts sinks first and stops producers first.
//   - [Producer]: a demand handler, a bounded buffer for what is pushed without demand, a [Dispatcher].
//   - [Dispatcher]: who gets which event: [NewDemand], [NewBroadcast], [PartitionBy], or your own. A plain value.
//   - [Line]: one subscription, the stages behind it, and the [End] that ends its events.
//   - [Stage]: [Map], [Filter], [FlatMap], [Transform], [Batcher], [KeyBatcher], [Limit], or [FlowOf] any streams.Flow.
//   - [End]: [Sink], [Supervise], a [ProducerConsumer], [SinkOf] any streams.Sink, or [Tail] for a graph of your own.
//   - [Acknowledger]: what ended, and the position below which everything has.
//   - [Observer], Config.OnFailure, ProducerConfig.OnDiscard: what is seen from outside.
//
// # Writing handlers
//
// A demand handler may block until it has something (ctx wakes it at a drain),
// may return fewer events than asked (what is missing is remembered: it is called
// again), may return an error (it is called again after a backoff) and ends its
// producer with [io.EOF].
//
// Events are shared between the lines of a broadcast: handlers read them, and
// return new ones. A handler that fails is called again with the same events, so
// it must bear that; see [Retry]. Handlers must heed ctx: Run waits for them.
//
// # With go-streams
//
// Each line is a streams.Source, streams.Flows and a streams.Sink, and the
// elements are *Batch[T]. Flows start goroutines when constructed, which is why
// [FlowOf] takes a factory. A flow that is not ours must pass every batch on, or
// call its Finish or Fail ([Keeping] does that for go-streams' Filter): demand comes
// back no other way, and what is left when the line ends is reported as
// [ErrLost]. A panic inside such a flow cannot be recovered by us and ends the
// process; Throttler loses batches in its Discard mode, so use Backpressure.
//
// # Guarantees
//
//   - Bounds: a line never holds more events than its MaxDemand, and a producer never emits more than
//     was asked for, except what is pushed: that waits in a buffer of fixed size. A partition's
//     queue is bounded: a full one holds demand back.
//   - Loss: each emitted event reaches every line that its dispatcher owes it to exactly once, or is
//     reported: discarded, failed, lost or stopped. Never silence.
//   - Order: within a partition, or a single line, order is the producer's. Our stages keep it.
//   - Isolation: a panic or an error of a handler fails its events, not the process, and so does the end of
//     its goroutine (runtime.Goexit). One poisoned event does not fail the others in its batch. Hooks,
//     observers and factories that panic are told to OnFailure. Where a producer cannot go on, because its
//     dispatcher panicked or a key or selector ended the goroutine, Run drains the rest and returns why.
//   - Cost: allocations per batch, none per event. No observer, no cost of one.
//
// # Shutdown
//
// When the context of Run ends, producers stop asking their handlers, hand out
// what they hold as lines ask for it, and close their lines; batchers flush, sinks
// finish, the acknowledger commits, and Run returns nil. What has not
// ended after DrainTimeout fails with [ErrStopped] and Run returns [ErrDrainTimeout]; the last
// commit may take as long again. What nobody is there for fails with [ErrNoConsumer]. Neither is
// committed, nor what [ErrLost] is said of: it comes again after a restart.
// After Run returns no goroutine of the topology remains.
package pipeline
